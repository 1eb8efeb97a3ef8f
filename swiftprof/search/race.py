"""Who goes on: candidates measured on the same samples, compared pair by pair with the leader."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

RISK = 0.05
"""Chance, by a normal approximation, that a candidate which leaves is really the better one of the
two that were compared."""


@dataclass(frozen=True)
class Gain:
    """Mean paired difference in score, relative to the unpruned model, with its 95 % interval."""

    mean: float
    low: float
    high: float
    samples: int


def relative(scores: Sequence[Floats], vanilla: Sequence[Floats]) -> Floats:
    """Scores of each set's samples divided by the unpruned model's mean, weighed so that every set
    counts the same: the mean of the result is the mean over sets. Shape (all samples,).
    """
    total, sets = sum(len(each) for each in scores), len(scores)
    parts = []
    for mine, unpruned in zip(scores, vanilla, strict=True):
        mean = float(unpruned.mean())
        parts.append(mine / (mean if mean > 0 else 1.0) * (total / (sets * max(1, len(mine)))))
    return np.concatenate(parts)


def gain(values: Floats, base: Floats) -> Gain:
    """How much better `values` are than `base` on the same samples, both as from `relative`."""
    apart = values - base
    error = float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else float("inf")
    mean = float(apart.mean())
    return Gain(mean, mean - 1.96 * error, mean + 1.96 * error, len(apart))


def go_on(values: Mapping[Key, Floats], most: int, risk: float = RISK) -> list[Key]:
    """Candidates that stay, best first.

    One leaves when the leader is ahead of it by more than chance at this risk, and the worst leave
    where more than `most` would stay.

    Args:
        values: of each candidate on the same samples.
    """
    order = sorted(values, key=lambda key: -float(values[key].mean()))  # stable: ties stay in order
    leader, z = values[order[0]], NormalDist().inv_cdf(1 - risk)
    staying = order[:1]
    for key in order[1:]:
        behind = leader - values[key]
        error = float(behind.std(ddof=1) / np.sqrt(len(behind))) if len(behind) > 1 else 0.0
        if behind.mean() <= z * error:
            staying.append(key)
    return staying[:most]
