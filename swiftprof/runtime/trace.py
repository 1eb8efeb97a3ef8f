"""Seeing what a pruned run did: which tokens each stage kept, and what each layer saw."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from swiftprof.runtime.prefill import Prefill
    from swiftprof.runtime.schedule import Schedule


@dataclass(frozen=True)
class StageEvent:
    """One stage of one prefill, for all B rows. Tensors stay on the device until you read them.

    Attributes:
        stage: 0-based stage.
        layer: the plan's layer number, from 1.
        cut: 0-based index of the first layer that sees the result.
        schedule: token counts of the prefill, on the host.
        visual: `(B, L)` bool over the slots of the prompt: its visual tokens.
        kept: `(B, L)` bool: visual tokens that stay as they are.
        merged: `(B, L)` bool: slots in which merged tokens go on (their seeds' slots).
        prefill: the same object for all stages of one prefill.
        present: `(B, n)` int64: the slot of each column of what goes on; -1 at padding.
    """

    stage: int
    layer: int
    cut: int
    schedule: Schedule
    visual: Tensor
    kept: Tensor
    merged: Tensor
    prefill: object
    present: Tensor

    @classmethod
    def make(
        cls,
        call: Prefill,
        stage: int,
        layer: int,
        cut: int,
        slots: Tensor,
        kept: Tensor,
        merged: Tensor,
    ) -> StageEvent:
        """From masks over the columns present, `(B, n)`, to masks over the prompt's slots."""
        visual = call.prompt.candidates
        kept, merged = (
            torch.zeros_like(visual, dtype=torch.int8).scatter_add(1, slots, m.to(torch.int8)) > 0
            for m in (kept, merged)
        )
        present = torch.where(call.tokens.valid, call.tokens.slots, -1)
        own = call.schedule
        return cls(stage, layer, cut, own, visual, kept, merged, own, present)


OnStage = Callable[[StageEvent], None]
OnSpan = Callable[[str], AbstractContextManager[None]]
"""Name of a piece of work -> a context manager around it."""


@dataclass
class PrefillTrace:
    """The stages of one prefill."""

    events: list[StageEvent] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """B, prompts in the batch."""
        return len(self.events[0].schedule.visual)

    def kept(self, stage: int, row: int) -> list[int]:
        """Places, among the row's visual tokens, of those that a stage (from 0) kept."""
        event = self.events[stage]
        return _places(event.visual[row], event.kept[row])

    def merged(self, stage: int, row: int) -> list[int]:
        """Places, among the row's visual tokens, of the seeds of merged tokens."""
        event = self.events[stage]
        return _places(event.visual[row], event.merged[row])

    def slots(self, layer: int) -> Tensor:
        """Which token of the call each entry of a layer's sequence is: `(B, n)` int64.

        Sequences have other lengths from layer to layer, and so have the `hidden_states` and
        `attentions` that a model returns: `slots(i)` tells the entries of `hidden_states[i]` (0
        are the embeddings) and of rows and columns of `attentions[i - 1]`, in a later turn behind
        the columns of what was cached. A merged token stands in its seed's slot.

        Args:
            layer: decoder layer, numbered from 1; 0 for its input.

        Returns:
            Slots, -1 at padding.
        """
        cut = [event for event in self.events if event.cut < layer]
        if cut:
            return cut[-1].present
        batch, length = self.events[0].visual.shape
        return torch.arange(length, device=self.events[0].visual.device).expand(batch, -1)

    def visual_per_layer(self, row: int, num_layers: int) -> list[int]:
        """Visual tokens, kept and merged, that entered each layer."""
        cuts = [event.cut for event in self.events]
        return self.events[0].schedule.visual_per_layer(row, cuts, num_layers)

    def retained(self, row: int, num_layers: int) -> float:
        """Retained tokens N of the row: mean over layers of the visual tokens that entered."""
        return sum(self.visual_per_layer(row, num_layers)) / num_layers


class Trace:
    """Collects what every stage did: `with prune(model, plan, on_stage=trace): ...`.

    Attributes:
        prefills: one entry per prefill that had visual tokens, oldest first.
    """

    def __init__(self) -> None:
        self.prefills: list[PrefillTrace] = []
        self._open: dict[int, PrefillTrace] = {}

    def __call__(self, event: StageEvent) -> None:
        """Add one stage. Prefills of several threads do not mix."""
        if event.stage == 0:
            self.prefills.append(PrefillTrace())
            self._open[id(event.prefill)] = self.prefills[-1]
        self._open[id(event.prefill)].events.append(event)

    def clear(self) -> None:
        """Forget everything."""
        self.prefills.clear()
        self._open.clear()


def _places(visual: Tensor, chosen: Tensor) -> list[int]:
    """Places among the visual tokens of those chosen; both masks `(L,)`."""
    places: list[int] = chosen[visual].nonzero().flatten().tolist()
    return places
