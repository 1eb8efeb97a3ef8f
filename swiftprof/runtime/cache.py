"""What a pruned cache remembers: how many tokens each layer holds, and which of them are padding.

It lives on the cache object, so there is one for each request, and any block for the same model can
go on with it, whatever its plan.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.static import is_filled, is_static

if TYPE_CHECKING:
    from swiftprof.runtime.decode import Step

_ATTRIBUTE = "swiftprof_state"


@dataclass(frozen=True)
class Segment:
    """What the caches of consecutive layers hold; the layers share the object.

    Attributes:
        length: tokens in each of these caches.
        valid: `(B, length)` bool, or None when no row is padded.
        dropped: `(B, 1)` int64, by how much positions are less than in the conversation; None where
            tokens keep their positions.
    """

    length: int
    valid: Tensor | None
    dropped: Tensor | None = None

    def then(self, more: Segment, batch: int, device: torch.device) -> Segment:
        """This and, behind it, more tokens of the same layers."""
        valid = None
        if self.valid is not None or more.valid is not None:
            valid = torch.cat(
                [columns(each, batch, device) for each in (self, more)],
                dim=1,
            )
        shifts = [s.dropped for s in (self, more) if s.dropped is not None]
        dropped = sum((s.to(device) for s in shifts[1:]), shifts[0].to(device)) if shifts else None
        return Segment(self.length + more.length, valid, dropped)


def columns(segment: Segment, batch: int, device: torch.device) -> Tensor:
    """Which of a segment's columns are tokens: `(B, length)` bool.

    Raises:
        SwiftprofError: its rows differ, and there are not `batch` of them.
    """
    if segment.valid is None:
        return torch.ones(batch, segment.length, dtype=torch.bool, device=device)
    check_rows(segment, batch)
    return segment.valid.to(device)


def check_rows(segment: Segment, batch: int) -> None:
    """Refuse a batch of another size than the cache's, where its rows differ."""
    for rows in (segment.valid, segment.dropped):
        if rows is not None and rows.shape[0] != batch:
            raise SwiftprofError(
                f"this cache was filled with {rows.shape[0]} rows and is used with {batch}: "
                "prefill again instead of repeating or selecting rows of a pruned cache"
            )


Segments = tuple[Segment | None, ...]
"""By layer; None where nothing has left, so that Hugging Face's own masks and positions fit."""


@dataclass
class CacheState:
    """What is known of a cache that went through a pruned prefill.

    Beams need no reordering: all beams of a sample have the same valid columns.

    Attributes:
        slots: tokens of the conversation, dropped ones included, up to which the segments speak;
            those behind came in later and are in every layer.
        segments: by layer.
        firsts: for every layer the first one that has the same segment.
        step: the forward pass that goes on now; None between calls.
    """

    slots: int
    segments: Segments
    firsts: tuple[int, ...] = field(init=False)
    step: Step | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        ids = [id(segment) for segment in self.segments]
        self.firsts = tuple(map(ids.index, ids))


def spread(segments: Sequence[tuple[int, Segment]], num_layers: int) -> Segments:
    """Segments with the first layer (0-based) of each, in order, as one for every layer."""
    by_layer: list[Segment | None] = [None] * num_layers
    for first, segment in segments:
        by_layer[first:] = [segment] * (num_layers - first)
    return tuple(by_layer)


def joined(
    past: Segments, new: Segments, whole: tuple[Segment, Segment], device: torch.device, batch: int
) -> Segments:
    """What each layer holds after a call.

    Args:
        past: what each layer held before.
        new: what each layer was given by the call.
        whole: the conversation before the call and the call, as a layer holds them that lost none.
        device: of the result.
        batch: rows B.
    """
    made: dict[tuple[int, int], Segment | None] = {}
    for before, after in zip(past, new, strict=True):
        if (key := (id(before), id(after))) not in made:
            made[key] = (
                None
                if before is None and after is None
                else (before or whole[0]).then(after or whole[1], batch, device)
            )
    return tuple(made[id(b), id(a)] for b, a in zip(past, new, strict=True))


def get_state(cache: Any) -> CacheState | None:
    """The state of a pruned cache; None for any other object."""
    state: CacheState | None = getattr(cache, _ATTRIBUTE, None)
    return state


def read_state(cache: Any) -> CacheState | None:
    """The state of a pruned cache; None for any other object, and after `cache.reset()`."""
    state = get_state(cache)
    if state is None or is_filled(cache) or (not is_static(cache) and cache.get_seq_length()):
        return state
    delattr(cache, _ATTRIBUTE)
    return None


def write_state(cache: Any, state: CacheState) -> None:
    """Mark a cache as pruned."""
    setattr(cache, _ATTRIBUTE, state)
    if is_static(cache):
        return
    first = state.segments[0]
    if first is not None and first.length < state.slots:
        layer = cache.layers[0]
        if not isinstance(layer, _WholeLength):
            cache.layers[0] = told = _whole_length(cast(Any, type(layer)))()
            told.__dict__, layer = layer.__dict__, told
        layer.swiftprof_missing = state.slots - first.length


class _WholeLength:
    """The first layer's cache, where tokens leave before it: it tells the conversation's length.

    Everyone who wants to know how far a conversation is asks the first layer: generate(), to skip
    what is cached, and the text model, to count positions.
    """

    swiftprof_missing = 0

    def get_seq_length(self) -> int:
        held: int = super().get_seq_length()  # type: ignore[misc]
        return held + self.swiftprof_missing if held else 0

    def reset(self) -> None:
        self.swiftprof_missing = 0
        super().reset()  # type: ignore[misc]

    def crop(self, length: int) -> None:
        """Cut tokens off: -n of them, or all behind a length."""
        surplus = self.get_seq_length() - length if length > 0 else -length
        if surplus > 0:
            layer: Any = self
            layer.keys = layer.keys[..., :-surplus, :]
            layer.values = layer.values[..., :-surplus, :]


@functools.cache
def _whole_length(kind: type) -> type:
    made = {"__init__": object.__init__}
    return type(f"WholeLength{kind.__name__}", (_WholeLength, kind), made)


def held(cache: Any, layer: int) -> int:
    """Tokens in a layer's cache."""
    length = int(cache.layers[layer].get_seq_length()) if layer < len(cache.layers) else 0
    return length - getattr(cache.layers[layer], "swiftprof_missing", 0) if length else 0


def cached_keys(cache: Any, layer: int) -> Tensor:
    """A layer's keys after RoPE, `(B, key heads, n, head size)`.

    Raises:
        SwiftprofError: the cache stores them in another form.
    """
    keys = getattr(cache.layers[layer], "keys", None)
    if not isinstance(keys, Tensor) or keys.ndim != 4 or keys.shape[2] != held(cache, layer):
        raise SwiftprofError(
            f"images cannot be pruned on a filled {type(cache).__name__}, whose keys are not kept "
            "as they are: use a DynamicCache, or give the whole conversation at once"
        )
    return keys


def rotate_at(
    segment: Segment, hidden: Tensor, position_ids: Tensor | None, rotate: Callable[..., Any]
) -> Any:
    """Rotary tables for new tokens in a layer where older ones were renumbered.

    Args:
        segment: what the layer holds; its `dropped` is not None.
        hidden: `(B, q, D)`, the new tokens.
        position_ids: `(B or 1, q)`, counting the whole conversation.
        rotate: `rotate(hidden, position_ids=…)`.
    """
    assert segment.dropped is not None
    if position_ids is None or position_ids.ndim != 2:
        raise SwiftprofError("renumbered positions need plain position_ids of two dimensions")
    check_rows(segment, hidden.shape[0])
    return rotate(hidden, position_ids=position_ids - segment.dropped.to(position_ids.device))
