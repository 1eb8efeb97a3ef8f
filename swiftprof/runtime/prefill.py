"""What is known during one prefill: which tokens are present, and what waits in the bypass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from swiftprof.core.layout import gather_rope
from swiftprof.core.merge import Bypassed
from swiftprof.core.stages import StageLike
from swiftprof.methods.view import PromptView, Vision
from swiftprof.runtime.decode import Segment
from swiftprof.runtime.schedule import Schedule

Rope = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Tokens:
    """The tokens present at some layer, by ascending slot.

    Attributes:
        slots: `(B, n)` int64.
        valid: `(B, n)` bool, false at padding.
        candidates: `(B, n)` bool, visual tokens.
        last: `(B,)` int64, column of the last prompt token.
        whole: the columns are the slots of the prompt, none has left.
    """

    slots: Tensor
    valid: Tensor
    candidates: Tensor
    last: Tensor
    whole: bool


@dataclass
class Prefill:
    """State of one prefill of B prompts of L slots; dropped when the forward pass ends.

    Attributes:
        schedule: token counts, on the host.
        counts: `(J, 3, B, 1)` int64: kept, rest and merged tokens of each stage and row, on the
            device.
        prompt: the whole prompt.
        tokens: the tokens present now.
        index: `(B, L)` int64, place of each visual token among the row's visual tokens; -1
            elsewhere.
        segments: runs of layers with equally long sequences, in order.
        waiting: the bypassed tokens; None when there are none.
        compacts: survivors are renumbered after every stage.
        memo: `(B, L)`, what the method noted about the prompt.
        vision: what the vision tower knew, for a method that reads it.
        scores: `(B, L)` over the slots of the prompt, by stage: scores of stages that cut behind
            the layer that judged them, from its hook until then.
        rope: cos and sin of the tokens present; None until they are needed, see `positions`.
        mask: attention mask for the tokens present.
    """

    schedule: Schedule
    counts: Tensor
    prompt: Tokens
    tokens: Tokens
    index: Tensor
    compacts: bool = False
    segments: list[Segment] = field(default_factory=list)
    memo: Tensor | None = None
    vision: Vision | None = None
    waiting: Bypassed | None = None
    scores: dict[int, Tensor] = field(default_factory=dict)
    rope: Rope | None = None
    mask: Tensor | None = None

    @property
    def length(self) -> int:
        """L, slots of the prompt."""
        return self.prompt.slots.shape[1]

    def positions(self, whole: Rope) -> Rope:
        """Rotary tables of the tokens present, gathered once from those of the whole prompt."""
        if self.tokens.whole:
            return whole
        if self.rope is None:
            slots = self._renumbered() if self.compacts else self.tokens.slots
            self.rope = (gather_rope(whole[0], slots), gather_rope(whole[1], slots))
        return self.rope

    def by_slot(self, scores: Tensor) -> Tensor:
        """Scores of the tokens present, `(B, n)`, at their slots, `(B, L)`; 0 elsewhere."""
        if self.tokens.whole:
            return scores
        roomy = scores.new_zeros(len(scores), self.length + 1)  # the last column takes the padding
        at = self.tokens.slots.masked_fill(~self.tokens.valid, self.length)
        return roomy.scatter(1, at, scores)[:, : self.length]

    def most_asking(self, attends: str) -> int:
        """At least as many tokens as ask at a stage: all of a row, or its text."""
        if attends == "all":
            return self.tokens.slots.shape[1]
        return max(self.schedule.text)

    def prompt_view(self, hidden: Tensor) -> PromptView:
        """What a method may note about the prompt; `hidden` are the input embeddings."""
        visual, text = max(self.schedule.visual), max(self.schedule.text)
        return PromptView(hidden, self.prompt.candidates, self.prompt.valid, visual, text)

    def _renumbered(self) -> Tensor:
        """Slots whose positions the tokens present take: the first ones of the prompt, in order."""
        valid = self.tokens.valid
        columns = valid.shape[1]
        place = torch.arange(columns, device=valid.device) - (columns - valid.sum(1, keepdim=True))
        first = (~self.prompt.valid).long().argsort(dim=1, stable=True)
        return first.gather(1, place.clamp_min(0))

    def dropped(self) -> Tensor | None:
        """How far positions have moved, `(B, 1)`; None where tokens keep theirs."""
        if not self.compacts:
            return None
        return self.prompt.valid.sum(1, keepdim=True) - self.tokens.valid.sum(1, keepdim=True)

    def move(self, device: torch.device) -> None:
        """Bring everything to a layer's device; mostly it is there already."""
        if self.counts.device != device:
            for key in (each.name for each in fields(self)):
                setattr(self, key, _moved(getattr(self, key), device))


def begin_prefill(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    visual_ids: Sequence[int],
    stages: Sequence[StageLike],
    *,
    merges: bool,
    bypass: bool,
    compacts: bool = False,
) -> Prefill | None:
    """Read the prompt and count its tokens: the only place where the host waits for the device.

    Args:
        input_ids: `(B, L)` token ids, one per slot.
        attention_mask: `(B, L)`, 0 at padding on either side; None when there is none.
        visual_ids: token ids that stand for a visual token.
        stages: the plan's stages.
        merges: the method merges.
        bypass: the method brings unselected tokens back.
        compacts: the method renumbers the survivors.

    Returns:
        None when no row has a visual token. The last prompt token counts as text even if it is
        visual: it asks the question, so it cannot leave.
    """
    slots = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    valid = torch.ones_like(input_ids, dtype=torch.bool)
    if attention_mask is not None:
        valid = attention_mask.to(input_ids.device).bool()
    last = torch.where(valid, slots, 0).amax(1)
    visual = torch.zeros_like(valid)
    for token in visual_ids:
        visual |= input_ids == token
    visual &= valid & (slots != last[:, None])
    n_visual, n_valid = torch.stack(
        [visual.sum(1), valid.sum(1)]
    ).tolist()  # the one host sync of a prefill
    if not any(n_visual):
        return None
    text = [total - some for total, some in zip(n_valid, n_visual, strict=True)]
    schedule = Schedule.make(stages, n_visual, text, merges=merges, bypass=bypass)
    counts = torch.tensor([schedule.kept, schedule.rest, schedule.merged]).transpose(0, 1)[
        ..., None
    ]
    index = torch.where(visual, visual.long().cumsum(1) - 1, -1)
    prompt = Tokens(slots, valid, visual, last, whole=True)
    counts = counts.to(slots.device, non_blocking=True)
    return Prefill(schedule, counts, prompt, prompt, index, compacts)


def _moved(value: Any, device: torch.device) -> Any:
    """A copy of `value` with its tensors on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, tuple) and isinstance(value[0], Tensor):
        return tuple(_moved(each, device) for each in value)
    if isinstance(value, (Tokens, Bypassed, Vision)):
        return replace(
            value,
            **{each.name: _moved(getattr(value, each.name), device) for each in fields(value)},
        )
    return value
