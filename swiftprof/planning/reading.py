"""Where visual tokens are read, and an objective that knows it: an option beside the paper's P.

The area P (eq. 7) counts every layer alike, and knows capability at one V only. But a model reads
most of the picture in some layers: where it has read all, it does not matter what is pruned; and a
stage that keeps 5 % is not described by what the same layer can do with 20 %. Here a layer weighs
as much as what is read in it, and a stage counts with its layer's capability at the share that it
keeps:

    Q = sum over layers t of (R(t) - R(t-1)) * x_j(t)(k_j(t)),

j(t) the stage whose tokens layer t sees, k what it keeps, R(t) the share of the score that has been
read up to layer t. Layers before the first cut see everything and count in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from swiftprof.core.stages import stage_lengths
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.planning.budget import feasible_sets
from swiftprof.planning.fill import Cost, Setting
from swiftprof.planning.plan_file import Stage

Floats = NDArray[np.float64]

MOST_LAYERS = 3
"""The search tries all sets of layers, which is affordable up to three."""
RATIOS = tuple(round(10 ** (-number / 10), 3) for number in range(15))
"""A later stage's tokens as a share of the first one's: 1 to 0.04 in equal factors."""
_EACH, _EXACT = 3, 60
"""Candidates of one set of layers, and in all, that are filled to whole tokens."""


@dataclass(frozen=True)
class Reading:
    """What a search needs to know of a model.

    Attributes:
        num_layers: L.
        left: layer t -> score left, relative to the unpruned model, when all visual tokens but one
            leave after layer t. Layers 2..L-1.
        shares: the V of the capabilities, rising, each in (0, 1).
        capability: layer -> its capability at each of the shares.
    """

    num_layers: int
    left: Mapping[int, float]
    shares: tuple[float, ...]
    capability: Mapping[int, tuple[float, ...]]

    @cached_property
    def read(self) -> Floats:
        """R(0..L): the share of the score that has surely been read up to a layer; rises to 1.

        The least that is left when the tokens leave after that layer or any later one: a picture
        that is half read can be worse than one read less, so a high value alone proves nothing.
        """
        values = np.ones(self.num_layers + 1)
        first = min(self.left)
        for layer in range(self.num_layers - 1, first - 1, -1):
            values[layer] = min(values[layer + 1], self.left.get(layer, 1.0))
        values[:first] = values[first]  # layers that see everything in every plan
        return values

    def at(self, layer: int, share: float | Floats) -> Floats:
        """Capability of a layer that keeps `share` of the visual tokens, interpolated.

        More tokens never count as worse: where a curve falls with V, by noise, it is level.
        """
        nothing = self.left[min(self.left)]
        known = np.maximum.accumulate([nothing, *self.capability[layer], 1.0])
        return np.asarray(np.interp(share, (0.0, *self.shares, 1.0), known))

    def expected(self, stages: Sequence[Stage]) -> float:
        """Q of these stages: the score that is expected, relative to the unpruned model."""
        lengths = stage_lengths([stage.layer for stage in stages], self.num_layers)
        read = self.read[np.cumsum(lengths)]
        kept = [self.at(stage.layer, stage.keep) for stage in stages]
        return float(read[0] + np.diff(read) @ np.array(kept))


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        layers: where to prune.
        schedule: how tokens fall, as `swiftprof.planning.schedules` reads it.
        expected: Q.
    """

    layers: tuple[int, ...]
    schedule: str
    expected: float


def search(
    reading: Reading,
    budget: int,
    tokens: float,
    cost: Cost,
    setting: Setting,
    layers: Sequence[int] | None = None,
) -> Search:
    """The layers and the schedule with the largest Q at `tokens` retained.

    Args:
        reading: of the model.
        budget: m, pruning layers at most.
        tokens: N, visual tokens averaged over layers.
        cost: the model.
        setting: the method; a schedule that it names is kept.
        layers: search only for a schedule at these.

    Raises:
        SwiftprofError: more layers than can be searched, or an impossible N.
    """
    depth, n = cost.model.num_layers, cost.tokens
    if reading.num_layers != depth:
        raise SwiftprofError(
            f"reading curve: has {reading.num_layers} layers, but {cost.model.name} has {depth}"
        )
    if budget > MOST_LAYERS and layers is None:
        raise BadParameter(
            "budget",
            budget,
            f"with a reading curve all sets of layers are tried, which is "
            f"affordable up to {MOST_LAYERS}",
        )
    sets = [tuple(layers)] if layers is not None else _sets(reading, budget, tokens, cost, setting)
    rough: list[tuple[float, tuple[int, ...], str]] = []
    for each in sets:
        if setting.schedule is not None:
            rough.append((0.0, each, setting.schedule))
            continue
        ratios = _ratios(len(each))
        values = _rough(reading, each, ratios, tokens, n, setting)
        for place in np.argsort(-values)[:_EACH]:
            if values[place] > 0:
                text = "/".join(f"{ratio:g}" for ratio in ratios[place])
                rough.append((float(values[place]), each, text))
    rough.sort(key=lambda found: -found[0])
    if setting.schedule is None:
        del rough[_EXACT:]
    best: Search | None = None
    for _, each, schedule in rough:
        try:
            stages = replace(setting, schedule=schedule).stages(each, cost, tokens)
        except SwiftprofError:
            continue
        value = reading.expected(stages)
        if best is None or value > best.expected:
            best = Search(each, schedule, value)
    if best is None:
        raise BadParameter(
            "retain",
            tokens,
            f"no layers with a known capability can retain so few of {n} "
            "visual tokens; retain more",
        )
    return best


def _sets(
    reading: Reading, budget: int, tokens: float, cost: Cost, setting: Setting
) -> list[tuple[int, ...]]:
    """Sets of up to `budget` layers that the budget of tokens allows."""
    return [
        each
        for m in range(1, budget + 1)
        for each in feasible_sets(cost.model.num_layers, m, cost.tokens, tokens, setting.method)
        if all(layer in reading.capability for layer in each)
    ]


def _ratios(stages: int) -> Floats:
    """Falling relative counts of the stages, (choices, stages); the first is 1."""
    if stages == 1:
        return np.ones((1, 1))
    tails = list(combinations_with_replacement(RATIOS, stages - 1))
    return np.concatenate([np.ones((len(tails), 1)), np.array(tails)], axis=1)


def _rough(
    reading: Reading,
    layers: tuple[int, ...],
    ratios: Floats,
    tokens: float,
    n: int,
    setting: Setting,
) -> Floats:
    """Q of each row of ratios, with fractions of tokens; 0 where the counts are impossible."""
    full, *rest = stage_lengths(layers, reading.num_layers)
    left = tokens * reading.num_layers - full * n
    counts = left / (ratios @ np.array(rest, float))[:, None] * ratios
    possible = (left > 0) & (counts[:, 0] <= n)
    counts = counts.clip(1, n)
    merged = np.minimum(round(setting.merge_share * n), counts // 2) * setting.method.merges
    merged[:, -1] = 0
    kept = np.stack(
        [
            reading.at(layer, share)
            for layer, share in zip(layers, (counts - merged).T / n, strict=True)
        ],
        1,
    )
    read = reading.read[np.cumsum([full, *rest])]
    return np.where(possible, read[0] + kept @ np.diff(read), 0.0)
