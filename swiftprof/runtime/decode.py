"""Text on a pruned cache: cache lengths differ by layer, so each needs its own mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from swiftprof.core.masks import attention_mask
from swiftprof.runtime.cache import CacheState, Segment, check_rows, held, rotate_at


@dataclass
class Step:
    """One forward pass on a pruned cache: a decoding step, or more text.

    Attributes:
        state: what the cache remembers.
        before: P, tokens of the conversation before this call.
        padding: `(B, P + q)`, the call's own mask over the conversation; None if not given.
        kind: form of the masks, see `swiftprof.core.masks.mask_kind`.
        rotate: makes rotary tables: `rotate(hidden, position_ids=…)`.
        masks: masks made so far in this step, one per segment and device.
        tables: the same for rotary tables.
    """

    state: CacheState
    before: int
    padding: Tensor | None
    kind: str
    rotate: Callable[..., Any]
    masks: dict[tuple[int, torch.device], Tensor | None] = field(default_factory=dict)
    tables: dict[tuple[int, torch.device], Any] = field(default_factory=dict)

    def mask(self, layer: int, hidden: Tensor, cache: Any, full: Tensor | None) -> Tensor | None:
        """Attention mask for a layer that lost tokens.

        Args:
            layer: 0-based layer index, of a layer with a segment.
            hidden: `(B, q, D)`, the new tokens.
            cache: the cache, before this layer has added the new tokens.
            full: the mask that Hugging Face made for a whole cache; None tells that there is no
                padding, and then only a batch with uneven segments needs a mask.
        """
        segment = self.state.segments[layer]
        assert segment is not None
        batch, queries = hidden.shape[:2]
        slots, behind = self.state.slots, self.before - self.state.slots
        # `cache.crop(n)` to an absolute length fits the first layers only: the others hold the
        # tokens still.
        surplus = held(cache, layer) - segment.length - behind
        if surplus > 0:
            cache.layers[layer].crop(-surplus)
        key = (id(segment), hidden.device)
        if key not in self.masks:
            check_rows(segment, batch)
            new = None
            if full is not None and self.padding is not None:
                new = self.padding[:, slots : slots + behind + queries].to(hidden.device).bool()
            both = segment.then(Segment(behind + queries, new), batch, hidden.device)
            self.masks[key] = attention_mask(
                self.kind,
                both.valid,
                batch=batch,
                queries=queries,
                keys=both.length,
                dtype=hidden.dtype,
                device=hidden.device,
            )
        return self.masks[key]

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
        key = (id(segment), hidden.device)
        if key not in self.tables:
            self.tables[key] = rotate_at(segment, hidden, position_ids, self.rotate)
        return self.tables[key]
