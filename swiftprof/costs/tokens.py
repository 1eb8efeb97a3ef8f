"""How many visual tokens enter each layer under a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from swiftprof.core.counts import kept_count, merged_count


class StageLike(Protocol):
    """Anything with the three numbers of a stage."""

    @property
    def layer(self) -> int: ...
    @property
    def keep(self) -> float: ...
    @property
    def merge(self) -> float: ...


def tokens_per_layer(stages: Sequence[StageLike], num_layers: int, n_visual: int) -> list[float]:
    """Visual tokens (kept + merged) that enter each layer 1..L.

    Layers up to and including the first stage's see all of them; a later stage changes the count
    from its own layer on. Counts are rounded as the runtime rounds them. The mean of the result is
    N, the retained tokens.

    Returns:
        A list of `num_layers` numbers; index 0 is layer 1.
    """
    counts = [float(n_visual)] * num_layers
    for position, stage in enumerate(stages):
        # The first stage cuts after its layer, a later one before: 0-based index of the next layer.
        first = stage.layer if position == 0 else stage.layer - 1
        kept = kept_count(stage.keep, n_visual)
        total = float(kept + merged_count(stage.merge, n_visual, kept))
        counts[first:] = [total] * (num_layers - first)
    return counts
