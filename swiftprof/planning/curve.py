"""Capability curves: what the planner reads, how scores of single samples become one, and how far
another draw of the samples would change it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from swiftprof.core.stages import BASE_LAYER
from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean
from swiftprof.files import first_error, read_json_object

Floats = NDArray[np.float64]
Normalize = Literal["relative", "minmax"]
REPLICATES = 1000


class _Document(BaseModel):
    """A curve's file."""

    num_layers: Annotated[int, Field(strict=True, ge=2, le=4096)]
    x: Annotated[
        dict[
            Annotated[str, Field(pattern="^(0|[1-9][0-9]{0,3})$")],
            Annotated[float, Field(strict=True)],
        ],
        Field(min_length=1),
    ]


@dataclass(frozen=True)
class Curve:
    """Capability x_i of the candidate layers.

    Attributes:
        num_layers: L, the depth of the model.
        layers: candidate layers, 1-based and increasing. Layer 2, the base, is one of them; layers
            that were not measured are not candidates.
        x: capability of each candidate, shape (C,).

    Raises:
        SwiftprofError: layers out of range or order, no layer 2, values that are not finite.
    """

    num_layers: int
    layers: tuple[int, ...]
    x: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        object.__setattr__(self, "x", np.asarray(self.x, dtype=np.float64))
        if self.x.shape != (len(self.layers),):
            raise SwiftprofError(
                f"curve: {self.x.size} values for {len(self.layers)} layers; give one for each"
            )
        if any(after <= before for before, after in pairwise(self.layers)):
            raise SwiftprofError("curve: layers must increase, and none may appear twice")
        outside = [layer for layer in self.layers if not 1 <= layer <= self.num_layers]
        if outside:
            raise SwiftprofError(f"curve: layer {outside[0]} is outside 1..{self.num_layers}")
        if BASE_LAYER not in self.layers:
            raise SwiftprofError(
                f"curve: layer {BASE_LAYER} is missing; it is the base of every plan"
            )
        if not np.isfinite(self.x).all():
            bad = self.layers[int(np.flatnonzero(~np.isfinite(self.x))[0])]
            raise SwiftprofError(f"curve: the value of layer {bad} is not a finite number")

    def at(self, layer: int) -> float:
        """x of a candidate layer."""
        return float(self.x[self.layers.index(layer)])

    @classmethod
    def from_json(cls, path: str | Path) -> Curve:
        """Read `{"num_layers": 32, "x": {"2": 0.61, …}}`. Raises SwiftprofError."""
        path = Path(path)
        document = read_json_object(path, "curve")
        try:
            found = _Document.model_validate(document)
            layers = sorted(found.x, key=int)
            return cls(
                found.num_layers, tuple(map(int, layers)), np.array([found.x[k] for k in layers])
            )
        except ValidationError as error:
            raise SwiftprofError(
                f"{path}: {first_error(error)}; a curve is "
                '{"num_layers": 32, "x": {"2": 0.61, …}}'
            ) from None
        except SwiftprofError as error:
            raise SwiftprofError(f"{path}: {str(error).removeprefix('curve: ')}") from None


@dataclass(frozen=True)
class SampleScores:
    """Scores of one data set's samples.

    Attributes:
        vanilla: score of the unpruned model, shape (S,).
        reruns: score with each candidate layer's selection, shape (S, C).
    """

    vanilla: Floats
    reruns: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "vanilla", np.asarray(self.vanilla, dtype=np.float64))
        object.__setattr__(self, "reruns", np.asarray(self.reruns, dtype=np.float64))
        if self.vanilla.ndim != 1 or self.reruns.ndim != 2 or len(self.vanilla) != len(self.reruns):
            raise SwiftprofError(
                f"scores: shapes {self.vanilla.shape} and {self.reruns.shape}; "
                "they must be (samples,) and (samples, layers)"
            )
        if not len(self.vanilla):
            raise SwiftprofError("scores: no samples; profile at least one")
        if not (np.isfinite(self.vanilla).all() and np.isfinite(self.reruns).all()):
            raise SwiftprofError("scores: not all are finite numbers; leave failed samples out")


def combine(samples: Mapping[str, SampleScores], normalize: Normalize = "relative") -> Floats:
    """x_i from scores: each data set's curve, normalised, then the mean over data sets.

    Args:
        samples: data set -> scores; all with the same candidate layers.
        normalize: see `normalise`.

    Returns:
        The curve, shape (C,). For one data set's own curve, pass only that one.

    Raises:
        SwiftprofError: no data set, or one whose vanilla score is not above 0 ("relative").
    """
    if not samples:
        raise SwiftprofError("scores: no data set; profile at least one")
    curves = []
    for name in sorted(samples):  # the order of summation must not depend on the caller
        vanilla, reruns = samples[name].vanilla.mean(), samples[name].reruns.mean(axis=0)
        if normalize == "relative" and not vanilla > 0:
            raise SwiftprofError(
                f"data set {name}: the unpruned model scores {vanilla:g}, so nothing can be "
                "relative to it; leave the data set out or use `normalize` minmax"
            )
        curves.append(normalise(reruns, vanilla, normalize))
    return np.mean(curves, axis=0)


def normalise(reruns: Floats, vanilla: Any, how: Normalize) -> Floats:
    """One data set's mean scores as a curve.

    Args:
        reruns: mean scores by layer, shape (..., C).
        vanilla: mean score of the unpruned model, shape (...).
        how: "relative" divides by `vanilla`; "minmax" maps the lowest layer to 0 and the highest to
            1 (all to 0 where they are equal), which weighs data sets by shape and not by loss.
    """
    if how == "relative":
        relative: Floats = reruns / np.asarray(vanilla)[..., None]
        return relative
    if how == "minmax":
        low = reruns.min(axis=-1, keepdims=True)
        span = reruns.max(axis=-1, keepdims=True) - low
        return np.where(span > 0, (reruns - low) / np.where(span > 0, span, 1), 0.0)
    raise BadParameter("normalize", how, did_you_mean(str(how), ["relative", "minmax"]))


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
    return interval(curves, level)


def interval(curves: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Percentile interval of every x_i of curves, (B, C): low and high."""
    low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
