"""Pruning layers published for one depth, in a model of another."""

from __future__ import annotations

from collections.abc import Sequence

from swiftprof.errors import SwiftprofError

DEPTH = 32
"""Layers of LLaVA-1.5-7B, for which the methods were published."""


def scaled(published: Sequence[int], num_layers: int, depth: int = DEPTH) -> tuple[int, ...]:
    """Layers at the same relative depths.

    A single layer stays as it is: it is the first layers that are special, not a fraction of the
    depth.

    Raises:
        SwiftprofError: a model too shallow for its stages.
    """
    layers: list[int] = []
    for layer in published:
        moved = layer if len(published) == 1 else round(layer * num_layers / depth)
        layers.append(max(moved, layers[-1] + 1 if layers else min(layer, 1)))
    if layers and layers[-1] >= num_layers:
        raise SwiftprofError(
            f"{num_layers} layers are too few for {len(layers)} pruning stages; "
            "give `layers` or `plan`"
        )
    return tuple(layers)


def equal_depths(first: int, stages: int, num_layers: int) -> tuple[int, ...]:
    """`stages` layers from `first` on that divide the layers behind it into equal parts."""
    step = (num_layers - first) / stages
    layers = [first + int(number * step) for number in range(stages)]
    for number in range(1, stages):
        layers[number] = max(layers[number], layers[number - 1] + 1)
    if layers[-1] >= num_layers:
        raise SwiftprofError(f"{num_layers} layers are too few for {stages} stages from {first} on")
    return tuple(layers)
