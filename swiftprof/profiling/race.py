"""``--race``: layers that can no longer be planned are not re-run on further samples.

A plan takes layers of rising capability, so one that an earlier layer beats is in no plan: every
planned layer is better than layer 2, and whoever plans one that another beats does as well to plan
that other instead, or before it. Such a layer is out of the race when that is beyond doubt. The
last layer gains nothing in any plan and is out after the first round. Layer 2, the base, stays.

A round is a power of two of units: unit 0 of every data set, unit 1, units 2 and 3, 4 to 7, and so
on. All parts of a round are there before the next begins, and who is out then follows from these
parts alone: not from workers, engines or interruptions.

**Doubt.** Two layers ran on the same samples, so what is compared is the mean of their differences,
relative to the unpruned model and averaged over data sets. Layer a beats layer b when it is ahead
by z standard errors. These are errors about the samples that are still to come: the question is
what the whole profile would say, not what more samples would. z is the normal quantile of the risk
divided by all comparisons that there can be (pairs of layers times rounds), so the chance that any
layer is ever beaten by one that it would not be behind at the end is at most about `risk`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import SampleScores
from swiftprof.profiling.job import Unit
from swiftprof.profiling.parts import part_count, part_path, read_measured
from swiftprof.profiling.store import RunFile
from swiftprof.profiling.summary import missing_units

DEFAULT_RISK = 0.01


def round_of(number: int) -> int:
    """The round of a data set's unit, from 0: units 0 | 1 | 2, 3 | 4 … 7 | …"""
    return number.bit_length()


@dataclass(frozen=True)
class Rules:
    """What decides a race.

    Attributes:
        num_layers: L.
        drawn: samples of each data set in the whole profile.
        z: standard errors by which a layer must be ahead.
    """

    num_layers: int
    drawn: Mapping[str, int]
    z: float

    @classmethod
    def of(
        cls, num_layers: int, candidates: int, drawn: Mapping[str, int], risk: float, decisions: int
    ) -> Rules:
        """Rules for a risk that is shared by all comparisons.

        Args:
            candidates: layers at the start.
            decisions: rounds after which layers may leave.
        """
        comparisons = candidates * (candidates - 1) / 2 * max(1, decisions)
        return cls(num_layers, drawn, NormalDist().inv_cdf(1 - risk / comparisons))


def still_in(
    samples: Mapping[str, SampleScores], layers: Sequence[int], rules: Rules
) -> tuple[int, ...]:
    """Who goes on.

    Args:
        samples: scores so far, columns as `layers`.
        layers: who is in, ascending.
    """
    usable = all(len(s.vanilla) > 1 and s.vanilla.mean() > 0 for s in samples.values())
    if not samples or not usable:
        return tuple(layers)
    ahead, error = _leads(samples, rules.drawn)
    beats = ahead > rules.z * error
    stays = []
    for column, layer in enumerate(layers):
        out = layer == rules.num_layers or beats[:column, column].any()
        if layer == BASE_LAYER or not out:
            stays.append(layer)
    return tuple(stays)


def _leads(
    samples: Mapping[str, SampleScores], drawn: Mapping[str, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[a, b]: by how much layer a is ahead of layer b so far, and the standard error of that."""
    curve, variance = 0.0, 0.0
    for name, scores in samples.items():
        count, vanilla = len(scores.vanilla), scores.vanilla.mean()
        x = scores.reruns.mean(axis=0) / vanilla
        # x is a ratio of two means; its error is that of the mean of these differences
        apart = scores.reruns - x * scores.vanilla[:, None]
        square = apart.T @ apart
        own = np.diag(square)
        # One sample that says the opposite is added: no difference is certain after a few samples.
        spread = (own[:, None] + own[None] - 2 * square + 1) / (count - 1)
        unseen = max(0.0, 1 - count / drawn[name])
        curve = curve + x / len(samples)
        variance = variance + spread * unseen / (count * (vanilla * len(samples)) ** 2)
    ahead = np.subtract.outer(curve, curve)
    return ahead, np.sqrt(variance) * np.ones_like(ahead)


def next_units(folder: Path, run: RunFile) -> list[Unit]:
    """The units that can be measured now: without a race all missing ones, else those of the first
    round that is not finished.
    """
    missing = missing_units(folder, run)
    if run.settings.race is None or not missing:
        return missing
    now = min(round_of(unit.number) for unit in missing)
    layers = _layers_of_round(folder, run, run.settings.race, now)
    return [replace(u, layers=layers) for u in missing if round_of(u.number) == now]


def _layers_of_round(folder: Path, run: RunFile, risk: float, number: int) -> tuple[int, ...]:
    """Who runs in a round: those whom the parts of the rounds before it leave in."""
    settings = run.settings
    layers = settings.layers
    last = max(round_of(part_count(len(indices)) - 1) for indices in run.draw.values())
    drawn = {name: len(indices) for name, indices in run.draw.items()}
    rules = Rules.of(settings.model.num_layers, len(layers), drawn, risk, last)
    for past in range(number):
        columns = [settings.layers.index(layer) for layer in layers]
        samples = {}
        for name in settings.datasets:
            parts = [
                part_path(folder, name, unit)
                for unit in range(part_count(drawn[name]))
                if round_of(unit) <= past
            ]
            vanilla, reruns = read_measured(parts, len(settings.layers))
            seen = np.isfinite(reruns[:, columns]).all(axis=1)
            samples[name] = SampleScores(vanilla[seen], reruns[seen][:, columns])
        layers = still_in(samples, layers, rules)
    return layers
