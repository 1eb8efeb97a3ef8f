"""Numbers known before running that could rank plans, and how well they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.numbers import spearman
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import Curve
from swiftprof.planning.program import area

Floats = NDArray[np.float64]

REPLICATES = 1000


class Objective(BaseModel):
    """How well a number known before running predicts the measured score of the drawn sets."""

    model_config = ConfigDict(frozen=True)

    name: str
    meaning: str
    spearman: float | None
    low: float | None
    high: float | None


OBJECTIVES: Mapping[str, tuple[str, Callable[[Curve, Sequence[int], float], float]]] = {
    "area P": (
        "the planner's objective: mean capability reached over layers 2..L (eq. 7)",
        lambda curve, layers, kept: float(
            area(curve.layers, curve.num_layers, curve.x[None], layers)[0]
            / max(1, curve.num_layers - BASE_LAYER)
        ),
    ),
    "last x": (
        "capability of the last pruning layer",
        lambda curve, layers, kept: curve.at(layers[-1]),
    ),
    "mean x": (
        "mean capability of the pruning layers",
        lambda curve, layers, kept: float(np.mean([curve.at(i) for i in layers])),
    ),
    "least x": (
        "lowest capability among the pruning layers",
        lambda curve, layers, kept: min(curve.at(i) for i in layers),
    ),
    "tokens kept": (
        "tokens left after the last stage: a late first stage leaves few at the same average",
        lambda curve, layers, kept: kept,
    ),
}
"""Numbers that could rank plans: name -> (meaning, function of curve, layers, kept share)."""


def ceiling(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Largest expected correlation with the scores of both halves together (Spearman-Brown)."""
    halves = spearman(first, second)
    if halves is None:
        return None
    return round(float(np.sqrt(max(0.0, 2 * halves / (1 + halves)))), 4) if halves > -1 else 0.0


def correlate(name: str, meaning: str, values: Sequence[float], scores: Floats) -> Objective:
    """Rank correlation with an interval: sets are drawn again."""
    known, generator = np.array(values), np.random.default_rng(len(values))
    drawn = []
    for _ in range(REPLICATES):
        again = generator.integers(0, len(known), len(known))
        found = spearman(known[again], scores[again])
        if found is not None:
            drawn.append(found)
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (None, None)
    return Objective(
        name=name, meaning=meaning, spearman=spearman(known, scores), low=low, high=high
    )
