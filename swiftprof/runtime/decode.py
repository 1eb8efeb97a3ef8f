"""Decoding after a pruned prefill: cache lengths differ by layer, so each needs its own mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from swiftprof.core.masks import attention_mask
from swiftprof.errors import SwiftprofError

_ATTRIBUTE = "swiftprof_state"


@dataclass(frozen=True)
class Segment:
    """Consecutive layers whose caches have the same length.

    Attributes:
        first: 0-based index of the first layer.
        length: prompt tokens in the cache of each of its layers.
        valid: `(B, length)` bool, or None when no row is padded.
        dropped: `(B, 1)` int64, by how much positions are less than in the prompt; None where
            tokens keep their positions.
    """

    first: int
    length: int
    valid: Tensor | None
    dropped: Tensor | None = None


@dataclass(frozen=True)
class CacheState:
    """What a pruned cache remembers of its prefill; lives on the cache object, so one per request.

    Beams need no reordering: all beams of a sample have the same counts, hence the same valid
    columns.

    Attributes:
        prompt: L, slots of the prompt; the length of the caches of the layers before the first
            stage.
        base: prompt tokens in the cache of the first layer: L, or fewer where tokens leave before
            the decoder.
        segments: by layer; None for the layers before the first stage.
    """

    prompt: int
    base: int
    segments: tuple[Segment | None, ...]

    @classmethod
    def make(cls, prompt: int, segments: Sequence[Segment], num_layers: int) -> CacheState:
        """Spread segments, given in order, over the layers."""
        by_layer: list[Segment | None] = [None] * num_layers
        for segment in segments:
            by_layer[segment.first :] = [segment] * (num_layers - segment.first)
        first = by_layer[0]
        return cls(prompt, prompt if first is None else first.length, tuple(by_layer))


def read_state(cache: object) -> CacheState | None:
    """The state of a pruned cache; None for any other object."""
    state: CacheState | None = getattr(cache, _ATTRIBUTE, None)
    return state


def write_state(cache: object, state: CacheState) -> None:
    """Mark a cache as pruned."""
    setattr(cache, _ATTRIBUTE, state)


@dataclass
class Step:
    """One forward pass on a pruned cache: a decoding step, or more text.

    Attributes:
        state: what the cache remembers.
        padding: `(B, L + t)`, the call's own mask over the prompt and everything after it; None if
            not given.
        kind: form of the masks, see `swiftprof.core.masks.mask_kind`.
        rotate: makes rotary tables: `rotate(hidden, position_ids=…)`.
        placed: the caller gave positions, which count the whole prompt. If not, Hugging Face counts
            what the first layer's cache holds.
        masks: masks made so far in this step, one per segment and device.
        tables: the same for rotary tables.
    """

    state: CacheState
    padding: Tensor | None
    kind: str
    rotate: Callable[..., Any]
    placed: bool = True
    masks: dict[tuple[int, torch.device], Tensor | None] = field(default_factory=dict)
    tables: dict[tuple[int, torch.device], Any] = field(default_factory=dict)

    def mask(self, layer: int, hidden: Tensor, cache: Any, full: Tensor | None) -> Tensor | None:
        """Attention mask for a layer behind the first stage.

        Args:
            layer: 0-based layer index, of a layer with a segment.
            hidden: `(B, q, D)`, the new tokens.
            cache: the cache, before this layer has added the new tokens.
            full: the mask that Hugging Face made for the layers with a full cache; None tells that
                the prompt has no padding, and then only a batch with uneven segments needs a mask.
        """
        segment = self.state.segments[layer]
        assert segment is not None
        self._align(segment, layer, cache, hidden.shape[1])
        key = (segment.first, hidden.device)
        if key not in self.masks or segment.first == layer:
            batch, queries = hidden.shape[:2]
            _check_rows(segment, batch)
            keys = cache.get_seq_length(layer) + queries
            valid = self._valid(segment, batch, keys - segment.length, full, hidden.device)
            self.masks[key] = attention_mask(
                self.kind,
                valid,
                batch=batch,
                queries=queries,
                keys=keys,
                dtype=hidden.dtype,
                device=hidden.device,
            )
        return self.masks[key]

    def positions(self, layer: int, hidden: Tensor, position_ids: Tensor | None) -> Any:
        """Rotary tables for the new tokens where tokens were renumbered; None where not.

        Args:
            layer: 0-based layer index, of a layer with a segment.
            hidden: `(B, q, D)`, the new tokens.
            position_ids: `(B or 1, q)`, as Hugging Face gave them to the layer.
        """
        segment = self.state.segments[layer]
        assert segment is not None
        if segment.dropped is None:
            return None
        if position_ids is None or position_ids.ndim != 2:
            raise SwiftprofError("renumbered positions need plain position_ids of two dimensions")
        key = (segment.first, hidden.device)
        if key not in self.tables:
            shift, first = segment.dropped, self.state.segments[0]
            if not self.placed and first is not None and first.dropped is not None:
                shift = shift - first.dropped
            moved = position_ids - shift.to(position_ids.device)
            self.tables[key] = self.rotate(hidden, position_ids=moved)
        return self.tables[key]

    def _align(self, segment: Segment, layer: int, cache: Any, queries: int) -> None:
        """Take back tokens that the full caches have given up.

        Assisted decoding crops rejected tokens. Before transformers 5.18 it does so by an absolute
        length, which only fits the first layers; these tell how many new tokens are left.
        """
        # The first layer holds this call's tokens already, unless it is the one that asks.
        new = cache.get_seq_length() - (queries if layer else 0) - self.state.base
        if new < 0:
            raise SwiftprofError(
                "this cache was cropped into its pruned prompt: prefill again to shorten the prompt"
            )
        surplus = cache.get_seq_length(layer) - segment.length - new
        if surplus > 0:
            cache.layers[layer].crop(-surplus)

    def _valid(
        self, segment: Segment, batch: int, new: int, full: Tensor | None, device: torch.device
    ) -> Tensor | None:
        past, padding = segment.valid, self.padding if full is not None else None
        if past is None and padding is None:
            return None
        if past is None:
            past = torch.ones(batch, segment.length, dtype=torch.bool, device=device)
        after = torch.ones(batch, new, dtype=torch.bool, device=device)
        if padding is not None:
            after = padding[:, self.state.prompt : self.state.prompt + new].to(device).bool()
        return torch.cat([past.to(device), after], dim=1)


def _check_rows(segment: Segment, batch: int) -> None:
    """Refuse a batch of another size than the prefill's, where its rows differ."""
    past = segment.valid
    if past is not None and past.shape[0] != batch:
        raise SwiftprofError(
            f"this cache was filled with {past.shape[0]} rows and is used with {batch}: "
            "prefill again instead of repeating or selecting rows of a pruned cache"
        )
