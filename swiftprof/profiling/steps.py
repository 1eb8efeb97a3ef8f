"""Single steps of a decoder, called through the model's own modules: what re-runs are made of."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.masks import attention_mask
from swiftprof.profiling.plain_layer import PlainLayer, plain_layers
from swiftprof.runtime.attention import queries, rotary_tables
from swiftprof.runtime.decoder import Decoder, locate

Rope = tuple[Tensor, Tensor]


class Steps:
    """A decoder that is run layer by layer."""

    def __init__(self, model: nn.Module) -> None:
        self.decoder: Decoder = locate(model)
        self.model: Any = model

    @cached_property
    def _plain(self) -> list[PlainLayer | None]:
        return plain_layers(self.decoder)

    def query(self, layer: Any, hidden: Tensor, rope: Rope) -> Tensor:
        """Query of one token per row, after RoPE: hidden (B, 1, D) → (B, heads, head size)."""
        normed = layer.input_layernorm(hidden)
        return queries(layer.self_attn, normed, rope)[:, :, 0]

    def mask(self, hidden: Tensor, seen: Tensor) -> Tensor | None:
        """Mask for hidden (R, q, D) as the last q of the columns ``seen`` (R, n) bool.

        Additive where the backend takes a map: a bool one would be turned into that in each layer.
        """
        kind = self.decoder.mask_kind
        return attention_mask(
            "eager" if kind == "sdpa" else kind,
            None if bool(seen.all()) else seen,
            batch=hidden.shape[0],
            queries=hidden.shape[1],
            keys=seen.shape[1],
            dtype=hidden.dtype,
            device=hidden.device,
        )

    def run(
        self,
        index: int,
        hidden: Tensor,
        rope: Rope,
        mask: Tensor | None,
        cache: Any,
        last: int | None = None,
    ) -> Tensor:
        """Decoder layer ``index`` (0-based); ``hidden`` may be overwritten.

        Args:
            last: only so many of the last tokens are wanted.
        """
        plain = self._plain[index]
        if plain is not None and rope[0].ndim == 3:
            return plain.run(hidden, rope, mask, cache, last)
        # No position ids: gaps in them would look like packed sequences.
        out = self.decoder.layers[index](
            hidden,
            attention_mask=mask,
            position_embeddings=rope,
            position_ids=None,
            past_key_values=cache,
            use_cache=True,
        )
        out = out[0] if isinstance(out, tuple) else out
        return out if last is None else out[:, -last:]

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def rope(self, hidden: Tensor, positions: Tensor) -> Rope:
        """Cos and sin at positions of text, (R, n)."""
        return rotary_tables(self.decoder, hidden, positions)

    def logits(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.model.get_output_embeddings()(self.decoder.norm(hidden))
        return out


def gather_rows(rope: Rope, sample: Tensor, slots: Tensor, batch: int) -> Rope:
    """Cos and sin of each row's slots: (…, B or 1, P, d) tables → (…, R, n, d)."""
    cos, sin = (
        t.expand(*t.shape[:-3], batch, -1, -1)[..., sample[:, None], slots, :] for t in rope
    )
    return cos, sin


def right_aligned(keep: Tensor) -> tuple[Tensor, Tensor]:
    """Columns where ``keep`` (R, P) holds, ascending, right-aligned, and their validity, (R, n)."""
    longest = int(keep.sum(1).max())
    index = torch.arange(keep.shape[1], device=keep.device).expand_as(keep)
    slots = torch.where(keep, index, -1).sort(dim=1).values[:, keep.shape[1] - longest :]
    return slots.clamp_min(0), slots >= 0
