"""Static caches: every layer's buffer is as long as what the plan leaves it, and the answer's room.

Hugging Face sizes all buffers by the conversation and allocates each at its layer's first update,
so a layer that is given fewer tokens is told so just before. What everyone asks a cache for, how
far the conversation is and how wide its masks are, is still answered for the whole conversation; a
decoding step takes the columns behind the prompt from such a mask. Nothing in it depends on values,
so it compiles into one graph, which the hooks are part of.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
from torch import Tensor

from swiftprof.errors import SwiftprofError

_USE = "leave cache_implementation out, or give a DynamicCache"


def is_static(cache: Any) -> bool:
    """Whether a cache has buffers of fixed size."""
    layers: list[Any] = getattr(cache, "layers", [])
    return bool(layers) and bool(getattr(layers[0], "is_compileable", False))


def is_filled(cache: Any) -> bool:
    """Whether a static cache holds anything, as far as the host knows."""
    return is_static(cache) and bool(cache.layers[0].is_initialized)


def begin_static(cache: Any, kind: str) -> None:
    """Make a static cache ready for a prompt with images.

    Args:
        cache: a static cache.
        kind: form of the model's masks, see `swiftprof.core.masks.mask_kind`.

    Raises:
        SwiftprofError: it holds something already, or its layers cannot have lengths of their own.
    """
    if kind == "flash":
        raise SwiftprofError(
            "a static cache cannot be pruned with FlashAttention, which has one mask for the "
            f"buffers of all layers: use attention backend 'sdpa', or {_USE}"
        )
    if getattr(cache, "offloading", False):
        raise SwiftprofError(f"an offloaded static cache cannot be pruned: {_USE}")
    for layer in cache.layers:
        if getattr(layer, "is_sliding", False) or not hasattr(layer, "max_cache_len"):
            raise SwiftprofError(
                f"a static cache with a {type(layer).__name__} cannot be pruned, only layers that "
                f"see everything can be shortened: {_USE}"
            )
    if is_filled(cache):
        if int(cache.get_seq_length()):
            raise SwiftprofError(
                "images cannot be pruned on a filled static cache, whose sizes are settled: "
                "give the whole conversation at once, or use a DynamicCache"
            )
        for layer in cache.layers:  # reset, or allocated early: again, once lengths are known
            layer.is_initialized = False


def prompt_mask(mask: Any, tokens: int) -> Any:
    """The padding mask `(B, L)` of a prompt, from the map that generate() makes for static caches.

    Args:
        mask: `(B, 1, L, n)`, bool or additive; one by kind of layer; anything else is returned.
        tokens: L.
    """
    if isinstance(mask, dict):
        mask = next(iter(mask.values()))
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return mask
    seen = mask[:, 0, -1, :tokens]  # the last token may see every other
    return seen if seen.dtype == torch.bool else seen == 0


def shorten(cache: Any, layer: int, missing: int) -> int:
    """Size a layer's buffer before its first update.

    Args:
        cache: a static cache.
        layer: 0-based layer index.
        missing: tokens of the prompt that the layer is not given.

    Returns:
        How many tokens the buffer has room for.
    """
    old = cache.layers[layer]
    if not isinstance(old, _Shortened):
        cache.layers[layer] = new = _shortened(cast(Any, type(old)))()
        new.__dict__, old = old.__dict__, new
    old.max_cache_len += old.swiftprof_missing - missing
    old.swiftprof_missing = missing
    return int(old.max_cache_len)


class _Shortened:
    """A layer's static cache that answers for the whole conversation."""

    swiftprof_missing = 0

    def get_seq_length(self) -> Any:
        held = super().get_seq_length()  # type: ignore[misc]
        return held + self.swiftprof_missing if cast(Any, self).is_initialized else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        length, offset = super().get_mask_sizes(query_length)  # type: ignore[misc]
        return length + self.swiftprof_missing, offset

    def reset(self) -> None:
        super().reset()  # type: ignore[misc]
        layer: Any = self
        layer.max_cache_len += self.swiftprof_missing
        self.swiftprof_missing = 0
        layer.is_initialized, layer.keys, layer.values = False, None, None


@functools.cache
def _shortened(kind: type) -> type:
    return type(f"Shortened{kind.__name__}", (_Shortened, kind), {"__init__": object.__init__})
