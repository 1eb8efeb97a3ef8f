"""Error bars: resampled curves and plans."""

from __future__ import annotations

import numpy as np
import pytest

from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import Curve, SampleScores, bootstrap_curves, combine, curve_intervals
from swiftprof.planning.program import solve
from swiftprof.planning.stability import plan_stability

LAYERS = tuple(range(2, 13))


def noisy(seed: int, size: int = 200) -> SampleScores:
    """Right or wrong answers; layers 5 and 8 are good."""
    random = np.random.default_rng(seed)
    p = np.full(len(LAYERS), 0.4)
    p[[3, 6]] = 0.6, 0.8
    vanilla = (random.random(size) < 0.9).astype(float)
    return SampleScores(vanilla, (random.random((size, len(LAYERS))) < p).astype(float))


def test_equal_samples_leave_no_doubt() -> None:
    row = np.linspace(0.1, 0.9, len(LAYERS))
    samples = {"a": SampleScores(np.ones(20), np.tile(row, (20, 1)))}
    curves = bootstrap_curves(samples, replicates=50)
    assert curves == pytest.approx(np.tile(row, (50, 1)))
    chosen = solve(Curve(12, LAYERS, row), 3).layers
    found = plan_stability(curves, LAYERS, 12, chosen, 3)
    assert found.plan_frequency == 1
    assert found.layer_frequency == {str(layer): 1.0 for layer in chosen}
    assert found.regret == pytest.approx(0, abs=1e-9)
    assert found.interval is not None
    assert all(high - low < 1e-9 for low, high in found.interval.values())


def test_the_seed_decides_and_other_data_sets_do_not_disturb() -> None:
    one = bootstrap_curves({"a": noisy(0)}, replicates=20, seed=5)
    assert np.array_equal(one, bootstrap_curves({"a": noisy(0)}, replicates=20, seed=5))
    assert not np.array_equal(one, bootstrap_curves({"a": noisy(0)}, replicates=20, seed=6))
    both = bootstrap_curves({"b": noisy(1), "a": noisy(0)}, replicates=20, seed=5)
    other = bootstrap_curves({"b": noisy(1)}, replicates=20, seed=5)
    assert both == pytest.approx((one + other) / 2)


def test_resampled_curves_scatter_around_the_measured_one_as_theory_says() -> None:
    samples = {"a": noisy(0, 400)}
    curves = bootstrap_curves(samples, replicates=2000)
    assert curves.mean(axis=0) == pytest.approx(combine(samples), abs=0.005)
    scores = samples["a"]
    # A ratio of means: its variance by the delta method.
    ratio = scores.reruns.mean(axis=0) / scores.vanilla.mean()
    residual = scores.reruns - ratio * scores.vanilla[:, None]
    error = residual.std(axis=0) / scores.vanilla.mean() / np.sqrt(400)
    assert curves.std(axis=0) == pytest.approx(error, rel=0.1)
    low, high = curve_intervals(samples, replicates=2000)
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_frequencies_count_plans_and_regret_is_never_negative() -> None:
    samples = {"a": noisy(3, 60)}
    curves = bootstrap_curves(samples, replicates=200)
    chosen = solve(Curve(12, LAYERS, combine(samples)), 2).layers
    found = plan_stability(curves, LAYERS, 12, chosen, 2)
    plans = [solve(Curve(12, LAYERS, row), 2) for row in curves]
    for layer, share in found.layer_frequency.items():
        assert share == pytest.approx(sum(int(layer) in p.layers for p in plans) / 200, abs=1e-4)
    assert found.plan_frequency == pytest.approx(sum(p.layers == chosen for p in plans) / 200)
    assert found.regret is not None
    assert found.regret_p95 is not None
    assert 0 <= found.regret <= found.regret_p95 or found.regret_p95 == 0
    best = np.array([p.performance for p in plans])
    worse = plan_stability(curves, LAYERS, 12, (4,), 2)
    assert worse.regret is not None
    # Stopping at one poor layer: the height of layer 2 up to 4, then of layer 4 to the end.
    own = (curves[:, 0] * 2 + curves[:, 2] * 8) / 10
    assert worse.regret == pytest.approx(float((best - own).mean()), abs=1e-6)


def test_resamples_without_a_right_answer_are_left_out() -> None:
    vanilla = np.array([1.0, 0, 0, 0])
    samples = {"a": SampleScores(vanilla, np.ones((4, 3)))}
    curves = bootstrap_curves(samples, replicates=500)
    assert 0 < len(curves) < 500
    assert np.isfinite(curves).all()
    assert len(bootstrap_curves(samples, replicates=500, normalize="minmax")) == 500


def test_no_replicates_are_refused() -> None:
    with pytest.raises(SwiftprofError, match="bootstrap 0"):
        bootstrap_curves({"a": noisy(0)}, replicates=0)
