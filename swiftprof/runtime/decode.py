"""Text on a pruned cache: cache lengths differ by layer, so each needs its own mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from swiftprof.core.masks import attention_mask
from swiftprof.errors import SwiftprofError
from swiftprof.runtime.cache import CacheState, Segment, check_rows, columns, held, rotate_at


@dataclass
class Step:
    """One forward pass on a pruned cache: a decoding step, or more text.

    Attributes:
        state: what the cache remembers.
        rotate: makes rotary tables: `rotate(hidden, position_ids=…)`.
        masks: masks made so far in this step, by device and the first layer that takes them.
        tables: the same for rotary tables.
    """

    state: CacheState
    rotate: Callable[..., Any]
    masks: dict[tuple[int, torch.device], Tensor | None] = field(
        default_factory=dict, init=False, repr=False
    )
    tables: dict[tuple[int, torch.device], Any] = field(
        default_factory=dict, init=False, repr=False
    )

    def mask(self, layer: int, hidden: Tensor, full: Tensor | None) -> Tensor | None:
        """Attention mask for a layer that lost tokens.

        Args:
            layer: 0-based layer index, of a layer with a segment.
            hidden: `(B, q, D)`, the new tokens.
            full: the mask that Hugging Face made for a whole cache; None tells that there is no
                padding, and then only a batch with uneven segments needs a mask.
        """
        segment = self.state.segments[layer]
        assert segment is not None
        key = (self.state.firsts[layer], hidden.device)
        if key not in self.masks:
            check_rows(segment, hidden.shape[0])
            self.masks[key] = self.make_mask(segment, hidden, full)
        return self.masks[key]

    def make_mask(self, segment: Segment, hidden: Tensor, full: Tensor | None) -> Tensor | None:
        """The mask of a layer with this segment; see `mask`."""
        raise NotImplementedError

    def positions(self, layer: int, hidden: Tensor, position_ids: Tensor | None) -> Any:
        """Rotary tables for the new tokens where older ones were renumbered; None where not.

        Args:
            layer: 0-based layer index, of a layer with a segment.
            hidden: `(B, q, D)`, the new tokens.
            position_ids: `(B or 1, q)`, as Hugging Face gave them to the layer.
        """
        segment = self.state.segments[layer]
        assert segment is not None
        if segment.dropped is None:
            return None
        key = (self.state.firsts[layer], hidden.device)
        if key not in self.tables:
            self.tables[key] = rotate_at(segment, hidden, position_ids, self.rotate)
        return self.tables[key]


@dataclass
class GrowingStep(Step):
    """A step on a cache that grows.

    Attributes:
        before: P, tokens of the conversation before this call.
        padding: `(B, P + q)`, the call's own mask over the conversation; None if not given.
        kind: form of the masks, see `swiftprof.core.masks.mask_kind`.
    """

    before: int
    padding: Tensor | None
    kind: str

    def make_mask(self, segment: Segment, hidden: Tensor, full: Tensor | None) -> Tensor | None:
        """See `Step`."""
        batch, queries = hidden.shape[:2]
        slots, behind = self.state.slots, self.before - self.state.slots
        new = None
        if full is not None and self.padding is not None:
            new = self.padding[:, slots : slots + behind + queries].to(hidden.device).bool()
        both = segment.then(Segment(behind + queries, new), batch, hidden.device)
        return attention_mask(
            self.kind,
            both.valid,
            batch=batch,
            queries=queries,
            keys=both.length,
            dtype=hidden.dtype,
            device=hidden.device,
        )


@dataclass
class StaticStep(Step):
    """A step on a static cache; all of it can be part of a graph."""

    def make_mask(self, segment: Segment, hidden: Tensor, full: Tensor | None) -> Tensor | None:
        """What is left of the prompt, and the columns of the whole mask behind it."""
        if full is None or full.ndim != 4:
            raise SwiftprofError(
                "a call on a pruned static cache has no mask of shape (batch, 1, queries, keys): "
                "use attention backend 'sdpa' or 'eager'"
            )
        batch, queries = hidden.shape[:2]
        full = full.to(hidden.device)
        seen = columns(segment, batch, hidden.device)[:, None, None]
        if full.dtype != torch.bool:
            least = torch.finfo(full.dtype).min
            seen = torch.where(seen, torch.zeros((), dtype=full.dtype, device=full.device), least)
        behind = full[..., self.state.slots :].expand(batch, -1, -1, -1)
        return torch.cat([seen.expand(-1, -1, queries, -1), behind], dim=-1)


def trim(cache: Any, state: CacheState, before: int) -> None:
    """Cut what `cache.crop(n)` to an absolute length left, which fits the first layers only.

    Args:
        cache: a pruned cache that grows.
        state: its state.
        before: tokens of the conversation.
    """
    for layer, segment in enumerate(state.segments):
        if segment is not None:
            surplus = held(cache, layer) - segment.length - (before - state.slots)
            if surplus <= 0:  # then nothing was cropped, and no other layer has any
                return
            cache.layers[layer].crop(-surplus)
