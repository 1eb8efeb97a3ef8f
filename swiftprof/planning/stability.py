"""How much of a plan is luck: the samples are drawn again, with replacement, and planned again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import Floats, interval
from swiftprof.planning.plan_file import Stability
from swiftprof.planning.program import area, solve_all


def plan_stability(
    curves: Floats, layers: Sequence[int], num_layers: int, chosen: Sequence[int], budget: int
) -> Stability:
    """Plan every resampled curve and compare with the plan that was chosen.

    Args:
        curves: resampled curves, shape (B, C).
        layers: layers of the columns.
        num_layers: L.
        chosen: the plan's pruning layers.
        budget: m.

    Returns:
        Frequencies, intervals, and the regret: how much mean capability (P, eq. 7) the chosen
        layers give away against the best layers of each resample.
    """
    found = solve_all(layers, num_layers, curves, budget)
    plans = [program.layers(budget) for program in found]
    times = Counter(layer for each in plans for layer in each)
    best = np.array([program.area(budget) for program in found])
    regret = best - area(layers, num_layers, curves, chosen)
    regret /= max(1, num_layers - BASE_LAYER)
    low, high = interval(curves)
    return Stability(
        bootstrap=len(curves),
        layer_frequency={
            str(layer): round(times[layer] / len(plans), 4)
            for layer in layers
            if times[layer] or layer in chosen
        },
        plan_frequency=round(plans.count(tuple(chosen)) / len(plans), 4),
        interval={
            str(layer): (round(float(a), 6), round(float(b), 6))
            for layer, a, b in zip(layers, low, high, strict=True)
        },
        regret=round(float(regret.mean()), 6),
        regret_p95=round(float(np.quantile(regret, 0.95)), 6),
    )
