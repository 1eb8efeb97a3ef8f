"""Small statistics that several analyses share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.float64]

REPLICATES = 2000
_CHUNK_CELLS = 1 << 22


class Mean(BaseModel):
    """A mean over samples and its 95 % bootstrap interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def text(self, digits: int = 1) -> str:
        """As `62.1 % [60.3, 63.8]`."""
        low, high = 100 * self.low, 100 * self.high
        return f"{percent(self.value, digits)} [{low:.{digits}f}, {high:.{digits}f}]"


def mean_interval(values: Sequence[float] | Floats, *, seed: int = 0) -> Mean:
    """Mean of samples with a 95 % percentile interval of the bootstrap."""
    found = np.asarray(values, dtype=np.float64)
    size = len(found)
    random = np.random.default_rng([seed, size])
    means = np.empty(REPLICATES)
    step = max(1, _CHUNK_CELLS // size)
    for start in range(0, REPLICATES, step):
        count = min(step, REPLICATES - start)
        means[start : start + count] = found[random.integers(0, size, (count, size))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Mean(value=_short(found.mean()), low=_short(low), high=_short(high))


def quantiles(values: Floats) -> list[float]:
    """The 5, 25, 50, 75 and 95 % quantiles."""
    return [_short(value) for value in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])]


def spearman(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float | None:
    """Rank correlation with mean ranks for ties; None where one side is constant."""
    a, b = (_mean_ranks(np.asarray(each, dtype=np.float64)) for each in (first, second))
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def spearman_interval(
    first: Sequence[float] | Floats, second: Sequence[float] | Floats
) -> tuple[float, float, float] | None:
    """Rank correlation, low, high: pairs are drawn again. None where one side is constant."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    value, generator = spearman(a, b), np.random.default_rng(len(a))
    if value is None:
        return None
    drawn = []
    for _ in range(REPLICATES // 2):
        again = generator.integers(0, len(a), len(a))
        found = spearman(a[again], b[again])
        if found is not None:
            drawn.append(found)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return _short(value), _short(low), _short(high)


def percent(share: float, digits: int = 0) -> str:
    """0.333 as `33 %`."""
    return f"{100 * share:.{digits}f} %"


def signed(share: float, digits: int = 1) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.{digits}f}"


def _mean_ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


def _short(value: float) -> float:
    """Six digits: more than any sample size can mean, and small files."""
    return float(f"{value:.6g}")
