"""What is known during one prefill: which tokens are present, and what waits in the bypass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from swiftprof.core.bypass import Bypassed
from swiftprof.core.layout import gather_rope
from swiftprof.core.masks import attention_mask
from swiftprof.core.stages import StageLike
from swiftprof.errors import SwiftprofError
from swiftprof.methods.view import PromptView, StageView, Vision
from swiftprof.runtime.cache import (
    CacheState,
    Segment,
    Segments,
    columns,
    joined,
    rotate_at,
    spread,
)
from swiftprof.runtime.keys import KnownKeys
from swiftprof.runtime.pictures import Pictures
from swiftprof.runtime.schedule import Schedule

Rope = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Tokens:
    """The tokens present at some layer, by ascending slot.

    Attributes:
        slots: `(B, n)` int64.
        valid: `(B, n)` bool, false at padding.
        candidates: `(B, n)` bool, visual tokens.
        merged: `(B, n)` bool, those among them that stand for several.
        last: `(B,)` int64, column of the last prompt token.
        whole: the columns are the slots of the call, none has left.
    """

    slots: Tensor
    valid: Tensor
    candidates: Tensor
    merged: Tensor
    last: Tensor
    whole: bool

    @property
    def visible(self) -> Tensor:
        """`(B, n)` bool, what the last prompt token can see."""
        end = self.slots.gather(1, self.last[:, None])
        return self.valid & (self.slots <= end)


@dataclass
class Prefill:
    """State of one prefill of B prompts of L slots; dropped when the forward pass ends.

    Attributes:
        schedule: token counts, on the host.
        counts: `(J, 3, B, 1)` int64: kept, rest and merged tokens of each stage and row, on the
            device.
        prompt: all tokens of the call.
        tokens: the tokens present now.
        tail: slots at the end, behind the prompts of all rows; they stay as they are.
        index: `(B, L)` int64, place of each visual token among the row's visual tokens; -1
            elsewhere.
        before: what a cache that lost nothing holds of the conversation before this call.
        past: what each layer's cache holds of it.
        segments: what layers are given, each with the first of them, in order.
        waiting: the bypassed tokens; None when there are none.
        compacts: survivors are renumbered after every stage.
        memo: `(B, L)`, what the method noted about the prompt.
        vision: what the vision tower knew, for a method that reads it.
        pictures: the images, for a method that looks at them one by one.
        scores: `(B, L)` over the slots of the prompt, by stage: scores of stages that cut behind
            the layer that judged them, from its hook until then.
        views: by stage, what was seen before the layer that judges ran, for a method that also
            reads what it gives.
        known: what W_K of the layer that runs next gives for the tokens present, if judging them
            took that.
        ropes: cos and sin of the tokens present, by what the layer's cache holds.
        masks: attention masks for the tokens present, likewise.
        compared: ids of Hugging Face's masks that were found to be causal.
        explicit: the cache is static.
    """

    schedule: Schedule
    counts: Tensor
    prompt: Tokens
    tokens: Tokens
    tail: int
    index: Tensor
    before: Segment
    past: Segments
    compacts: bool = False
    segments: list[tuple[int, Segment]] = field(default_factory=list)
    memo: Tensor | None = None
    vision: Vision | None = None
    pictures: Pictures | None = None
    waiting: Bypassed | None = None
    scores: dict[int, Tensor] = field(default_factory=dict)
    views: dict[int, StageView] = field(default_factory=dict)
    known: KnownKeys | None = None
    ropes: dict[tuple[int, torch.device], Rope] = field(default_factory=dict)
    masks: dict[tuple[int, torch.device], Tensor | None] = field(default_factory=dict)
    compared: set[int] = field(default_factory=set)
    explicit: bool = False

    @property
    def length(self) -> int:
        """L, slots of the call."""
        return self.prompt.slots.shape[1]

    def is_as_given(self, layer: int) -> bool:
        """Whether a layer (0-based) gets what Hugging Face made for it: no token has left."""
        return self.tokens.whole and self.past[layer] is None

    def replace_tokens(self, tokens: Tokens) -> None:
        """From here on other tokens are present."""
        self.tokens = tokens
        self.ropes.clear()
        self.masks.clear()

    def rope(
        self,
        layer: int,
        whole: Rope,
        hidden: Tensor,
        position_ids: Tensor | None,
        rotate: Callable[..., Any],
    ) -> Rope:
        """Rotary tables of the tokens present.

        Args:
            layer: 0-based layer index.
            whole: those of the whole call.
            hidden: `(B, L or n, D)`.
            position_ids: the call's positions, for layers whose older tokens were renumbered.
            rotate: `rotate(hidden, position_ids=…)`.
        """
        past = self.past[layer]
        shifted = past is not None and past.dropped is not None
        if self.tokens.whole and not shifted:
            return whole
        key = (id(past) if shifted else 0, hidden.device)
        if key not in self.ropes:
            slots = self._renumbered() if self.compacts else self.tokens.slots
            table = whole
            if past is not None and shifted:
                table = rotate_at(past, hidden, position_ids, rotate)
            self.ropes[key] = (gather_rope(table[0], slots), gather_rope(table[1], slots))
        return self.ropes[key]

    def mask(self, layer: int, hidden: Tensor, kind: str, room: int) -> Tensor | None:
        """Attention mask of the tokens present, for a layer that is not as given.

        Args:
            layer: 0-based layer index.
            hidden: `(B, n, D)`.
            kind: form of the mask, see `swiftprof.core.masks.mask_kind`.
            room: columns behind them, of a static cache, that nobody sees.
        """
        past = self.past[layer] or self.before
        key = (id(past), hidden.device)
        if key not in self.masks:
            batch, device = hidden.shape[0], hidden.device
            both = past.then(self._given(), batch, device)
            mask = attention_mask(
                kind,
                both.valid,
                batch=batch,
                queries=hidden.shape[1],
                keys=both.length,
                dtype=hidden.dtype,
                device=device,
            )
            if mask is not None and room:  # none is right as it is: the kernel cuts such keys off
                unseen = 0 if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
                mask = functional.pad(mask, (0, room), value=unseen)
            self.masks[key] = mask
        return self.masks[key]

    def seen_before(self, layer: int) -> Tensor:
        """Which tokens of a layer's cache can be seen: `(B, n)` bool."""
        past = self.past[layer] or self.before
        return columns(past, len(self.tokens.slots), self.tokens.slots.device)

    def state(self) -> CacheState:
        """What the caches hold after this call."""
        batch, device = self.prompt.valid.shape[0], self.prompt.valid.device
        new = [(cut, self._without_tail(each)) for cut, each in self.segments]
        if self.explicit:  # with padding and without, a compiled step is the same
            new = [(c, replace(each, valid=columns(each, batch, device))) for c, each in new]
        given = self._without_tail(Segment(self.length, self.prompt.valid))
        return CacheState(
            self.before.length + given.length,
            joined(self.past, spread(new, len(self.past)), (self.before, given), device, batch),
        )

    def _given(self) -> Segment:
        """What a layer is given now."""
        if self.segments:
            return self.segments[-1][1]
        return Segment(self.length, self.prompt.valid)

    def _without_tail(self, segment: Segment) -> Segment:
        length = segment.length - self.tail
        valid = segment.valid
        return replace(segment, length=length, valid=None if valid is None else valid[:, :length])

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
        return PromptView(hidden, self.prompt.candidates, self.prompt.visible, visual, text)

    def _renumbered(self) -> Tensor:
        """Slots whose positions the tokens present take: the first ones of the call, in order."""
        place = self.tokens.valid.long().cumsum(1) - 1
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
            for key in (
                "counts",
                "prompt",
                "tokens",
                "index",
                "memo",
                "vision",
                "pictures",
                "waiting",
                "scores",
            ):
                setattr(self, key, _moved(getattr(self, key), device))


def begin_prefill(
    visual: Tensor,
    valid: Tensor,
    last: Tensor,
    stages: Sequence[StageLike],
    *,
    merges: bool,
    bypass: bool,
    compacts: bool,
    before: Segment,
    past: Segments,
) -> Prefill | None:
    """Count a call's tokens: the only place where the host waits for the device.

    Args:
        visual: `(B, L)` bool, placeholders of image and video features.
        valid: `(B, L)` bool, false at padding on either side.
        last: `(B,)` int64, last token of each prompt.
        stages: the plan's stages.
        merges: the method merges.
        bypass: the method brings unselected tokens back.
        compacts: the method renumbers the survivors.
        before: what a cache that lost nothing holds of the conversation before this call.
        past: what each layer's cache holds of it.

    Returns:
        None when no row has a visual token. The last prompt token counts as text even if it is
        visual: it asks the question, so it cannot leave.

    Raises:
        SwiftprofError: visual tokens behind the end of the prompt.
    """
    slots = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    behind = (visual & valid & (slots > last[:, None])).sum(1)
    visual = visual & valid & (slots < last[:, None])
    end = last.amax()
    text = (valid & ~visual & (slots <= end)).sum(1)
    numbers = torch.stack([visual.sum(1), text, behind, end.expand_as(text)])
    n_visual, n_text, n_behind, ends = numbers.tolist()  # the one host sync of a prefill
    if any(n_behind):
        raise SwiftprofError(
            "image tokens stand behind the end of the prompt (before the first label, or what "
            "logits_to_keep or prompt_lengths leave), so nothing in it can judge them: end the "
            "prompt behind its images"
        )
    if not any(n_visual):
        return None
    tail = valid.shape[1] - 1 - ends[0]
    schedule = Schedule.make(
        stages, n_visual, [n + tail for n in n_text], merges=merges, bypass=bypass
    )
    counts = torch.tensor([schedule.kept, schedule.rest, schedule.merged]).transpose(0, 1)
    index = torch.where(visual, visual.long().cumsum(1) - 1, -1)
    prompt = Tokens(slots, valid, visual, torch.zeros_like(visual), last, whole=True)
    return Prefill(
        schedule=schedule,
        counts=counts[..., None].to(slots.device, non_blocking=True),
        prompt=prompt,
        tokens=prompt,
        tail=tail,
        index=index,
        before=before,
        past=past,
        compacts=compacts,
    )


def _moved(value: Any, device: torch.device) -> Any:
    """A copy of `value` with its tensors on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
        return tuple(_moved(each, device) for each in value)
    if isinstance(value, (Tokens, Bypassed, Vision, Pictures)):
        return replace(
            value,
            **{each.name: _moved(getattr(value, each.name), device) for each in fields(value)},
        )
    return value
