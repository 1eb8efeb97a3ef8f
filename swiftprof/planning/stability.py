"""How much of a plan is luck: the samples are drawn again, with replacement, and planned again."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from swiftprof.core.stages import BASE_LAYER
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.planning.curve import Normalize, SampleScores, normalise
from swiftprof.planning.plan_file import Stability
from swiftprof.planning.program import area, solve_all

Floats = NDArray[np.float64]

REPLICATES = 1000


def bootstrap_curves(
    samples: Mapping[str, SampleScores],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    normalize: Normalize = "relative",
) -> Floats:
    """Curves of resampled data: each data set's samples are drawn again, the data sets stay.

    A data set's draws depend on the seed and its name only, so adding another does not change them.
    A resample in which some unpruned score is not above 0 has no relative curve and is left out.

    Returns:
        Curves, shape (B, C), B <= `replicates`.

    Raises:
        SwiftprofError: fewer than 1 replicate, or no resample has a curve.
    """
    if replicates < 1:
        raise BadParameter(
            "bootstrap", replicates, "must be at least 1 (0 on the command line: none)"
        )
    curves, usable = [], np.ones(replicates, dtype=bool)
    for name in sorted(samples):
        scores = samples[name]
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        size = len(scores.vanilla)
        # How often each sample is drawn is all that a mean needs: one matrix product per data set.
        times = random.multinomial(size, np.full(size, 1 / size), size=replicates).astype(
            np.float64
        )
        vanilla = times @ scores.vanilla / size
        if normalize == "relative":
            usable &= vanilla > 0
            vanilla = np.where(vanilla > 0, vanilla, 1.0)
        curves.append(normalise(times @ scores.reruns / size, vanilla, normalize))
    if not usable.any():
        raise SwiftprofError(
            "bootstrap: the unpruned model scores 0 in every resample; profile more samples"
        )
    result: Floats = np.mean(curves, axis=0)[usable]
    return result


def curve_intervals(
    samples: Mapping[str, SampleScores],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    normalize: Normalize = "relative",
    level: float = 0.95,
) -> tuple[Floats, Floats]:
    """Percentile interval of every x_i: (low, high), each of shape (C,)."""
    curves = bootstrap_curves(samples, replicates=replicates, seed=seed, normalize=normalize)
    return _interval(curves, level)


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
    low, high = _interval(curves)
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


def _interval(curves: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
