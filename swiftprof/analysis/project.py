"""Points in two dimensions, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftprof.errors import BadParameter

Floats = NDArray[np.float64]

PROJECTIONS = ("pca", "tsne")


def project(parts: Sequence[Floats], how: str = "pca") -> tuple[list[Floats], float | None]:
    """Project sets of points to a common plane.

    Args:
        parts: sets of points, `(n, D)` each. PCA takes its axes from the first set alone, so the
            others do not pull the plane towards themselves.
        how: `pca`, or `tsne`, which needs scikit-learn.

    Returns:
        The sets in the plane, `(n, 2)` each, and PCA's share of the first set's variance.

    Raises:
        SwiftprofError: unknown projection, or scikit-learn is missing.
    """
    if how == "tsne":
        return _tsne(parts), None
    if how != "pca":
        raise BadParameter("projection", how, f"must be one of {', '.join(PROJECTIONS)}")
    centre = parts[0].mean(0)
    _, strength, axes = np.linalg.svd(parts[0] - centre, full_matrices=False)
    plane = np.zeros((2, parts[0].shape[1]))
    plane[: min(2, len(axes))] = axes[:2]
    signs = np.sign(plane[np.arange(2), np.abs(plane).argmax(1)])  # SVD leaves the signs open
    plane *= np.where(signs == 0, 1, signs)[:, None]
    variance = strength**2
    total = float(variance.sum())
    explained = float(variance[:2].sum()) / total if total > 0 else None
    return [(part - centre) @ plane.T for part in parts], explained


def _tsne(parts: Sequence[Floats]) -> list[Floats]:
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise BadParameter(
            "projection",
            "tsne",
            "needs scikit-learn, which is not installed: pip install scikit-learn, or use pca",
        ) from None
    points = np.concatenate(parts)
    model: Any = TSNE(2, perplexity=min(30.0, (len(points) - 1) / 3), init="pca", random_state=0)
    placed: Floats = model.fit_transform(points)
    return np.split(placed, np.cumsum([len(part) for part in parts])[:-1])
