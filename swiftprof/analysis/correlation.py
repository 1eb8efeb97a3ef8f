"""Rank correlation, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64]
RESAMPLES = 1000


def spearman(first: Values, second: Values) -> float | None:
    """Rank correlation with mean ranks for ties; None where one side is constant."""
    import pandas as pd

    found = pd.DataFrame({"a": first, "b": second}).corr("spearman").loc["a", "b"]
    return None if np.isnan(found) else float(found)


def spearman_interval(first: Values, second: Values) -> tuple[float, float, float] | None:
    """Rank correlation, low, high: pairs are drawn again. None where one side is constant."""
    a, b, value = np.asarray(first), np.asarray(second), spearman(first, second)
    if value is None:
        return None
    generator = np.random.default_rng(len(a))
    again = (generator.integers(0, len(a), len(a)) for _ in range(RESAMPLES))
    drawn = [found for at in again if (found := spearman(a[at], b[at])) is not None]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return round(value, 6), round(float(low), 6), round(float(high), 6)
