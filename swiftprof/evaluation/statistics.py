"""How far scores are luck: paired bootstrap intervals and a paired test between methods.

All variants answer the same samples, so what is compared is always a difference on one sample.
Averages are those of pruning papers: each data set's mean score divided by the unpruned model's,
then the mean over data sets.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scores = Mapping[str, Floats]
"""Data set -> scores of its samples, in one order for all variants; NaN where there is none."""

REPLICATES = 2000
PERMUTATIONS = 10_000
_CHUNK = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean of relative scores and its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One variant against another on the same samples.

    Attributes:
        difference: mean relative score of the first less that of the second, with its interval.
        p: two-sided p of a sign-flip test: how often differences as large arise when each sample's
            two answers are swapped at random.
    """

    difference: Estimate
    p: float


def estimate(
    scores: Scores, vanilla: Scores, *, replicates: int = REPLICATES, seed: int = 0
) -> Estimate | None:
    """Mean over data sets of score relative to vanilla on the same samples, resampled with it.

    Returns:
        None where vanilla scores 0 on a data set, or there is none.
    """
    scores, vanilla = _paired(scores, vanilla)
    return _relative(scores, vanilla, 1.0, replicates, seed)


def compare_paired(
    first: Scores,
    second: Scores,
    vanilla: Scores,
    *,
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Comparison | None:
    """The difference of two variants' averages, its interval and a paired test.

    Returns:
        None where vanilla scores 0 on a data set, or there is none.
    """
    first, second, vanilla = _paired(first, second, vanilla)
    gains = {name: first[name] - second[name] for name in first}
    difference = _relative(gains, vanilla, 0.0, replicates, seed)
    if difference is None:
        return None
    weighted = {
        name: gain / (vanilla[name].mean() * len(gain) * len(gains)) for name, gain in gains.items()
    }
    return Comparison(difference, _sign_flip(weighted, permutations, seed))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p values."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, running = [0.0] * len(values), 0.0
    for place, number in enumerate(order):
        running = max(running, min(1.0, (len(values) - place) * values[number]))
        corrected[number] = running
    return corrected


def _paired(*every: Scores) -> list[Scores]:
    """Scores of the samples that all have, on the data sets of the first."""
    out: list[dict[str, Floats]] = [{} for _ in every]
    for name in every[0]:
        table = np.stack([each[name] for each in every])
        whole = table[:, ~np.isnan(table).any(axis=0)]
        for each, kept in zip(out, whole, strict=True):
            each[name] = kept
    return list(out)


def _relative(
    scores: Scores, vanilla: Scores, empty: float, replicates: int, seed: int
) -> Estimate | None:
    """Mean over data sets of the means relative to vanilla's, with its interval.

    How often a sample is drawn in each resample depends on names and seed alone.

    Args:
        empty: stands for a data set in resamples on which vanilla scores 0.
    """
    if not scores or any(not vanilla[name].any() for name in scores):
        return None
    drawn = np.zeros(replicates)
    for name in sorted(scores):
        size = len(scores[name])
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        times = random.multinomial(size, np.full(size, 1 / size), size=replicates).astype(float)
        base = times @ vanilla[name]
        drawn += np.where(base > 0, times @ scores[name] / np.where(base > 0, base, 1), empty)
    value = np.mean([scores[name].mean() / vanilla[name].mean() for name in scores])
    low, high = np.quantile(drawn / len(scores), [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def _sign_flip(weighted: Scores, permutations: int, seed: int) -> float:
    """Two-sided p; exact ties count as reached, so equal answers give 1."""
    differences = np.concatenate([weighted[name] for name in sorted(weighted)])
    differences = differences[differences != 0]  # equal answers cannot change sides
    if not len(differences):
        return 1.0
    seen = abs(differences.sum()) - 1e-12
    random, reached = np.random.default_rng([seed, len(differences)]), 0
    for start in range(0, permutations, _CHUNK):
        count = min(_CHUNK, permutations - start)
        signs = random.integers(0, 2, size=(count, len(differences)), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ differences) >= seen).sum())
    return (1 + reached) / (1 + permutations)
