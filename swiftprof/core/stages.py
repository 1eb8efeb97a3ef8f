"""Where a plan's stages act: the one place that knows how pruning layers are numbered.

Layers are numbered 1..L where people see them. The first stage takes effect *after* its layer, the
later ones *before* theirs (paper §3.3). With `first="before"`, which is ours, the first stage too
takes effect before its layer, so every stage is judged by the projections of a layer that has not
run yet. Two stages may cut at the same place; they then run there one after the other.

Nothing here needs torch: planning, cost estimates and the runtime all count by these functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Protocol

from swiftprof.core.counts import kept_count, merged_count
from swiftprof.errors import SwiftprofError

First = Literal["after", "before"]
"""Whether the first stage takes effect after or before its layer."""
Scoring = Literal["own", "before", "next"]
"""Whose attention judges a stage, see `judging_layers`."""

BASE_LAYER = 2
"""Layers that see every token while profiling; capability x_2 is the base of every plan."""


class StageLike(Protocol):
    """One stage of a plan."""

    @property
    def layer(self) -> int:
        """Decoder layer, numbered from 1."""

    @property
    def keep(self) -> float:
        """Kept fraction of the prompt's visual tokens, in (0, 1]."""

    @property
    def merge(self) -> float:
        """Merged tokens as a fraction of the prompt's visual tokens."""


def cuts_of(layers: Sequence[int], first: str = "after") -> list[int]:
    """For stages at these layers, how many layers run before each of them takes effect.

    That is also the 0-based index of the first layer that sees a stage's result.
    """
    return [layer - (number > 0 or first == "before") for number, layer in enumerate(layers)]


def cut_layers(stages: Sequence[StageLike], first: str = "after") -> list[int]:
    """For each stage the 0-based index of the first layer that sees its result."""
    return cuts_of([stage.layer for stage in stages], first)


def judging_layers(
    stages: Sequence[StageLike], scoring: Scoring = "own", first: str = "after"
) -> list[int]:
    """For each stage the 0-based index of the layer whose attention judges the tokens.

    Args:
        stages: the plan's stages.
        scoring: `own`: the stage's layer; `before`: the layer that ran before the cut; `next`: the
            one that runs behind it.
        first: see `cuts_of`.
    """
    if scoring == "own":
        return [stage.layer - 1 for stage in stages]
    return [cut - (scoring == "before") for cut in cut_layers(stages, first)]


def layers_judged_by(
    judges: Sequence[int], scoring: Scoring = "own", first: str = "after"
) -> tuple[int, ...]:
    """The plan layers at which the given layers (from 1) judge: `judging_layers` the other way.

    Examples:
        >>> layers_judged_by([3, 11, 15], "before")
        (3, 12, 16)
        >>> layers_judged_by([3, 11, 15], "next")
        (2, 11, 15)
    """
    if scoring == "own":
        return tuple(judges)
    cuts = [judge - (scoring == "next") for judge in judges]
    return tuple(cut + (number > 0 or first == "before") for number, cut in enumerate(cuts))


def stage_lengths(layers: Sequence[int], num_layers: int, first: str = "after") -> list[int]:
    """How many layers run before the first cut and after each, summing to `num_layers`.

    Examples:
        >>> stage_lengths([3, 11, 15], 32)
        [3, 7, 4, 18]
    """
    return [b - a for a, b in pairwise([0, *cuts_of(layers, first), num_layers])]


def tokens_per_layer(
    stages: Sequence[StageLike], num_layers: int, n_visual: int, first: str = "after"
) -> list[float]:
    """Visual tokens (kept + merged) that enter each layer 1..L; their mean is N.

    Counts are rounded as the runtime rounds them.

    Returns:
        A list of `num_layers` numbers; index 0 is layer 1.
    """
    counts = [float(n_visual)] * num_layers
    for stage, cut in zip(stages, cut_layers(stages, first), strict=True):
        kept = kept_count(stage.keep, n_visual)
        total = float(kept + merged_count(stage.merge, n_visual, kept))
        counts[cut:] = [total] * (num_layers - cut)
    return counts


def check_layers(layers: Sequence[int], num_layers: int, earliest: int = 1) -> None:
    """Refuse layers out of range or out of order.

    Args:
        layers: of the stages.
        num_layers: L.
        earliest: least layer of the first stage; 0 where the method prunes before the decoder.

    Raises:
        ValueError: names the stage and what is possible.
    """
    for number, layer in enumerate(layers):
        lowest = 1 if number else earliest
        if not lowest <= layer <= num_layers:
            raise ValueError(
                f"stages[{number}].layer: {layer} is outside {lowest}..{num_layers}, the model's "
                "layers"
            )
        if number and layer <= layers[number - 1]:
            raise ValueError(
                f"stages[{number}].layer: {layer} comes after {layers[number - 1]}; layers must "
                "increase"
            )


def check_stages(stages: Sequence[StageLike], num_layers: int, earliest: int = 1) -> None:
    """Refuse stages that mean nothing for a model of `num_layers` layers.

    Raises:
        SwiftprofError: a layer is out of range or not above the one before, or a fraction is out of
            range.
    """
    try:
        check_layers([stage.layer for stage in stages], num_layers, earliest)
    except ValueError as error:
        raise SwiftprofError(f"plan: {error}") from None
    for number, stage in enumerate(stages):
        if not 0.0 < stage.keep <= 1.0:
            raise SwiftprofError(
                f"plan: stages[{number}].keep is {stage.keep}; give a fraction above 0 and at "
                "most 1"
            )
        if not 0.0 <= stage.merge <= 1.0:
            raise SwiftprofError(
                f"plan: stages[{number}].merge is {stage.merge}; give a fraction from 0 to 1"
            )
