"""What a search may try: candidates, how each is filled to one price, and the steps between them.

A candidate says which layers judge, how tokens fall from stage to stage, how many are merged,
whether the first stage acts before its layer, and which share is spread. The number of tokens is
not its business: every candidate is filled to the same price, FLOPs or tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from swiftprof.core.counts import round_half_up
from swiftprof.core.stages import First, cuts_of
from swiftprof.methods import create
from swiftprof.methods.base import Method
from swiftprof.methods.depths import equal_depths
from swiftprof.planning.budget import stages_of
from swiftprof.planning.plan_file import Plan, Stage

Price = Callable[[Sequence[Stage], Method], float]
"""What stages cost under a method: FLOPs, or tokens averaged over layers."""

MERGES = (0.0, 0.025, 0.05, 0.1)
TILTS = (0.5, 0.7, 1.4, 2.0)
LEAST = 1 / 64
"""No stage has fewer tokens than this share of the first stage's."""


@dataclass(frozen=True)
class Candidate:
    """One point of the space.

    Attributes:
        layers: where stages act, ascending.
        falls: tokens of each stage relative to the first one's; begins with 1, never rises.
        merge: merged tokens of a stage as a share of the visual tokens.
        first: whether the first stage acts after or before its layer.
        spread: share of a selection that is spread by dissimilarity.
    """

    layers: tuple[int, ...]
    falls: tuple[float, ...]
    merge: float = 0.05
    first: First = "before"
    spread: float = 0.0

    @property
    def method(self) -> Method:
        """The method that runs it."""
        return create("swiftvlm", self.options)

    @property
    def options(self) -> dict[str, Any]:
        """The method's options that differ from the defaults, as a plan stores them."""
        options: dict[str, Any] = {}
        if self.first != "after":
            options["first"] = self.first
        if self.spread:
            options["spread"] = self.spread
        return options

    @classmethod
    def of(cls, plan: Plan, n_visual: int) -> Candidate:
        """The candidate of a plan of swiftvlm; filled to its price it is about that plan."""
        totals = [round_half_up((s.keep + s.merge) * n_visual) for s in plan.stages]
        method = create(plan.method, plan.options)
        return cls(
            layers=plan.pruning_layers,
            falls=tuple(round(max(LEAST, total / totals[0]), 4) for total in totals),
            merge=plan.stages[0].merge,
            first=method.first,
            spread=float(getattr(method, "spread", 0.0)),
        )


def fill(
    candidate: Candidate, n_visual: int, price: Price, most: float
) -> tuple[Stage, ...] | None:
    """Stages of a candidate that cost as much as is allowed, to within one token at one stage.

    Args:
        candidate: what to fill.
        n_visual: n_v.
        price: what stages cost.
        most: the price that is not passed.

    Returns:
        None where even the fewest tokens cost more.
    """
    method = candidate.method
    wanted = round_half_up(candidate.merge * n_visual)

    def made(counts: Sequence[int]) -> tuple[Stage, ...]:
        last = len(counts) - 1
        merged = [
            max(0, method.merged_of(count, n_visual, wanted, last=j == last))
            for j, count in enumerate(counts)
        ]
        return stages_of(candidate.layers, counts, merged, n_visual)

    def counts_at(scale: float) -> list[int]:
        return [
            min(n_visual - 1, max(1, round_half_up(scale * fall * n_visual)))
            for fall in candidate.falls
        ]

    if price(made(counts_at(0.0)), method) > most:
        return None
    low, high = 0.0, 1.0 / candidate.falls[-1]
    for _ in range(24):
        middle = (low + high) / 2
        cheap = price(made(counts_at(middle)), method) <= most
        low, high = (middle, high) if cheap else (low, middle)
    counts = counts_at(low)
    while True:  # what is left goes to single stages, the last one first
        for j in reversed(range(len(counts))):
            more = [*counts[:j], counts[j] + 1, *counts[j + 1 :]]
            room = more[j] < n_visual and (j == 0 or more[j] <= more[j - 1])
            if room and price(made(more), method) <= most:
                counts = more
                break
        else:
            return made(counts)


def starts(
    paper: Candidate, preset: Candidate | None, x: dict[int, float], num_layers: int
) -> list[Candidate]:
    """Where a search begins: the paper's plan first, then others that are unlike each other.

    Args:
        paper: the paper's plan.
        preset: the plan that needs no profile, where the price allows one.
        x: capability of each layer, where there is a profile.
        num_layers: L.
    """
    found = [paper]
    if preset is not None:
        found += [preset, *(replace(preset, spread=share) for share in (0.0, 0.1))]
        found += [replace(preset, merge=0.0), replace(preset, falls=(1.0,) * len(preset.layers))]
    count = max(3, len(paper.layers))
    best = sorted(sorted(layer for layer in x if 2 < layer < num_layers), key=lambda i: -x[i])
    for layers in (
        equal_depths(3, count, num_layers) if num_layers > count + 3 else (),
        equal_depths(3, 2 * count, num_layers) if num_layers > 2 * count + 3 else (),
        tuple(range(3, max(4, round(0.8 * num_layers)), 2)),
        tuple(sorted(best[:count])),
        tuple(sorted({3, *best[:count]})),
        tuple(sorted({3, *best[: 2 * count]})),
        tuple(sorted({3, *paper.layers, round(num_layers / 2)})),
    ):
        if not layers or layers[-1] >= num_layers:
            continue
        falling = Candidate(tuple(layers), _falling(len(layers)), paper.merge, "before", 0.0)
        found += [falling, replace(falling, spread=0.35)]
    found.append(replace(paper, first="before"))
    found.append(Candidate((1,), (1.0,), 0.0, "after", 1.0))  # a sample of the picture, once
    return list(dict.fromkeys(found))


def _falling(count: int) -> tuple[float, ...]:
    """Each stage has the same share of the one before, the last one a fifth of the first."""
    return tuple(round(0.2 ** (j / max(1, count - 1)), 4) for j in range(count))


def neighbour(candidate: Candidate, num_layers: int, rng: random.Random) -> Candidate:
    """One random step away: shift, add, remove or split a layer, tilt, merge, spread, first."""
    moves: list[Callable[[Candidate, int, random.Random], Candidate | None]] = [
        _shift, _shift, _add, _remove, _split, _tilt, _tilt, _merge, _spread, _spread, _first,
    ]  # fmt: skip
    while True:
        moved = rng.choice(moves)(candidate, num_layers, rng)
        if moved is not None and moved != candidate and _possible(moved, num_layers):
            return moved


def _possible(candidate: Candidate, num_layers: int) -> bool:
    layers = candidate.layers
    rising = all(b > a for a, b in pairwise(layers))
    return rising and cuts_of(layers, candidate.first)[0] >= 1 and layers[-1] < num_layers


def _shift(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    place, by = rng.randrange(len(c.layers)), rng.choice((-2, -1, -1, 1, 1, 2))
    return replace(c, layers=(*c.layers[:place], c.layers[place] + by, *c.layers[place + 1 :]))


def _add(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    free = [layer for layer in range(2, num_layers) if layer not in c.layers]
    return _with(c, rng.choice(free)) if free else None


def _with(c: Candidate, layer: int) -> Candidate:
    """One more layer, with as many tokens as the stage before it."""
    place = sum(other < layer for other in c.layers)
    fall = c.falls[place - 1] if place else 1.0
    return replace(
        c,
        layers=(*c.layers[:place], layer, *c.layers[place:]),
        falls=(*c.falls[:place], fall, *c.falls[place:]),
    )


def _remove(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    if len(c.layers) < 2:
        return None
    place = rng.randrange(len(c.layers))
    falls = (*c.falls[:place], *c.falls[place + 1 :])
    return replace(
        c,
        layers=(*c.layers[:place], *c.layers[place + 1 :]),
        falls=tuple(round(fall / falls[0], 4) for fall in falls),
    )


def _split(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    """Judge twice where once was: halfway to the next layer, too."""
    place = rng.randrange(len(c.layers))
    after = c.layers[place + 1] if place + 1 < len(c.layers) else num_layers
    middle = (c.layers[place] + after) // 2
    return None if middle in c.layers or middle >= num_layers else _with(c, middle)


def _tilt(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    """Fewer or more tokens from some stage on."""
    if len(c.layers) < 2:
        return None
    place, factor = rng.randrange(1, len(c.layers)), rng.choice(TILTS)
    falls = list(c.falls)
    for j in range(place, len(falls)):
        falls[j] = round(min(falls[j - 1], max(LEAST, c.falls[j] * factor)), 4)
    return replace(c, falls=tuple(falls))


def _merge(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    return replace(c, merge=rng.choice(MERGES))


def _spread(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    by = rng.choice((-0.3, -0.15, -0.1, -0.05, 0.05, 0.1, 0.15, 0.3))
    return replace(c, spread=round(min(1.0, max(0.0, c.spread + by)), 3))


def _first(c: Candidate, num_layers: int, rng: random.Random) -> Candidate | None:
    return replace(c, first="after" if c.first == "before" else "before")
