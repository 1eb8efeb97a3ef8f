"""Small statistics, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from swiftprof.analysis.numbers import mean_interval, quantiles, spearman, spearman_interval


def dumb_spearman(a: list[float], b: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]

    x, y = ranks(a), ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    return float(top / (sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y)) ** 0.5)


def test_spearman_is_the_correlation_of_mean_ranks() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = (list(map(float, random.integers(0, 5, 12))) for _ in range(2))
        if len(set(a)) > 1 and len(set(b)) > 1:
            assert spearman(a, b) == pytest.approx(dumb_spearman(a, b))
    assert spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_the_interval_of_a_mean_holds_it_and_shrinks_with_samples() -> None:
    few, many = mean_interval([0.0, 1.0] * 10), mean_interval([0.0, 1.0] * 1000)
    for found in (few, many):
        assert found.low < found.value == 0.5 < found.high
    assert many.high - many.low < few.high - few.low
    exact = mean_interval([0.3] * 5)
    assert exact.low == exact.value == exact.high


def test_the_interval_of_a_correlation_holds_it() -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=60)
    b = a + random.normal(size=60)
    found = spearman_interval(a, b)
    assert found is not None
    value, low, high = found
    assert value == pytest.approx(dumb_spearman(list(a), list(b)), abs=1e-5)
    assert 0 < low < value < high < 1
    assert spearman_interval([1, 1, 1], [1, 2, 3]) is None


def test_quantiles_are_those_of_the_values() -> None:
    assert quantiles(np.arange(101.0)) == [5, 25, 50, 75, 95]
