"""Predicting how good a schedule is: capability as a function of how much is kept.

A profile measures each layer's capability x_i at one share V. Profiles with other V make it a
function x_i(s): linear between the measured shares, 0 at none and 1, the unpruned model, at all. A
schedule that keeps a share s_k at pruning layer i_k is taken to be as good as its worst selection:

    min_k x_{i_k}(s_k)

The lengths of the stretches between the layers only decide what a share costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swiftprof.errors import SwiftprofError
from swiftprof.planning.budget import stage_lengths
from swiftprof.planning.curve import Curve, SampleScores, combine
from swiftprof.planning.plan_file import ModelInfo, Plan

__all__ = ["Capability", "Measured", "best_shares", "predicted_schedule"]

Floats = NDArray[np.float64]

_STEPS = 1000
"""Steps from none to all in which shares are searched."""
_BISECTIONS = 40


class Measured(Protocol):
    """What is read of a profile."""

    @property
    def model(self) -> ModelInfo: ...
    @property
    def layers(self) -> tuple[int, ...]: ...
    @property
    def samples(self) -> Mapping[str, SampleScores]: ...
    @property
    def keep(self) -> float: ...


@dataclass(frozen=True)
class Capability:
    """Curves of one model by rising share V."""

    shares: tuple[float, ...]
    curves: tuple[Curve, ...]

    @classmethod
    def of(cls, profiles: Sequence[Measured]) -> Capability:
        """From profiles of one model on the same data sets, each with another V.

        Raises:
            SwiftprofError: they differ in more than V, or two have the same.
        """
        first, *others = profiles
        for each in others:
            for what, mine, its in (
                ("model", first.model.name, each.model.name),
                ("layers", first.layers, each.layers),
                ("data sets", sorted(first.samples), sorted(each.samples)),
            ):
                if mine != its:
                    raise SwiftprofError(f"--capability: {what} differ: {mine} and {its}")
        ordered = sorted(profiles, key=lambda each: each.keep)
        shares = tuple(each.keep for each in ordered)
        if len(set(shares)) < len(shares):
            raise SwiftprofError(
                f"--capability: profiles with V = {', '.join(f'{s:g}' for s in shares)}, each must "
                "differ; profile with another --keep"
            )
        depth = first.model.num_layers
        curves = tuple(Curve(depth, each.layers, combine(each.samples)) for each in ordered)
        return cls(shares, curves)

    def at(self, layer: int, share: float | Floats) -> Floats:
        """x of a layer that keeps a share of the visual tokens; same shape as `share`.

        More tokens never count as worse: where a curve falls with V, by noise, it is level.
        """
        known = np.maximum.accumulate([0.0, *(curve.at(layer) for curve in self.curves), 1.0])
        return np.asarray(np.interp(share, [0.0, *self.shares, 1.0], known))

    def predict(self, layers: Sequence[int], shares: Sequence[float]) -> float:
        """The prediction for a schedule: capability of its worst selection."""
        return min(float(self.at(i, s)) for i, s in zip(layers, shares, strict=True))


def predicted_schedule(capability: Capability, plan: Plan) -> tuple[str, float]:
    """The schedule predicted to be best for a plan's layers and budget, and its prediction.

    Args:
        capability: x_i(s).
        plan: a plan with any schedule.

    Raises:
        SwiftprofError: a layer was not profiled.
    """
    depth, layers = plan.model.num_layers, plan.pruning_layers
    full, *lengths = stage_lengths(layers, depth)
    unknown = [layer for layer in layers if layer not in capability.curves[0].layers]
    if unknown:
        raise SwiftprofError(f"--capability: layer {unknown[0]} was not profiled")
    assert plan.budget is not None
    left = (plan.budget.ratio or 0.0) * depth - full
    shares = best_shares(capability, layers, lengths, left)
    name = "+".join(str(round(share * _STEPS)) for share in shares)
    return name, capability.predict(layers, shares)


def best_shares(
    capability: Capability, layers: Sequence[int], lengths: Sequence[int], budget: float
) -> list[float]:
    """The shares with the best prediction among all that never rise and spend at most the budget.

    By bisection over the worst selection: for a capability t every stage takes the least share that
    reaches it, and no less than the stages behind it.

    Args:
        capability: x_i(s).
        layers: pruning layers.
        lengths: layers in the stretch behind each.
        budget: sum of share times length.
    """
    grid = np.arange(1, _STEPS + 1) / _STEPS
    reached = [capability.at(layer, grid) for layer in layers]

    def least(t: float) -> Floats:
        shares = [grid[min(int(np.searchsorted(x, t)), _STEPS - 1)] for x in reached]
        return np.maximum.accumulate(shares[::-1])[::-1]

    low, high = 0.0, max(float(x[-1]) for x in reached)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.dot(lengths, least(middle)) <= budget else (low, middle)
    return [float(share) for share in least(low)]
