"""Attention rows of one layer, recomputed from its own norm, projections and rotary embedding."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from swiftprof.core.layout import gather_rope, gather_tokens
from swiftprof.core.scores import attention_row, mean_attention, rows_asking
from swiftprof.errors import SwiftprofError
from swiftprof.runtime.decoder import Decoder

_ASKING_AT_ONCE = 32
"""Query tokens whose attention rows exist at the same time."""

Rope = tuple[Tensor, Tensor]
"""Cos and sin at the positions of a row of tokens."""


def rotary_tables(decoder: Decoder, hidden: Tensor, positions: Tensor) -> Rope:
    """Cos and sin at positions of text, `(B, n)`; in M-RoPE time, height and width are the same."""
    if decoder.mrope:
        positions = positions.expand(3, *positions.shape)
    cos, sin = decoder.rotary(hidden, position_ids=positions)
    return cos, sin


def rope_function(attention: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """The family's `apply_rotary_pos_emb`.

    Raises:
        SwiftprofError: it has none.
    """
    module = sys.modules[type(attention).__module__]
    rotate = getattr(module, "apply_rotary_pos_emb", None)
    if rotate is None:
        raise SwiftprofError(
            f"{type(attention).__name__} cannot be pruned: its rotary embedding is not known"
        )
    return cast("Callable[..., tuple[Tensor, Tensor]]", rotate)


def queries(attention: nn.Module, normed: Tensor, rope: Rope) -> Tensor:
    """Queries after RoPE of normed hidden states: `(B, n, D)` → `(B, heads, n, head size)`.

    Args:
        attention: the layer's attention module.
        normed: input of the projections, after the layer's norm.
        rope: cos and sin at the n tokens' positions.
    """
    module = cast(Any, attention)
    query = module.q_proj(normed).unflatten(-1, (-1, module.head_dim))
    if hasattr(module, "q_norm"):
        query = module.q_norm(query)
    query = query.transpose(1, 2)
    # The function rotates queries and keys together; one key head stands in for the other half.
    rotated, _ = rope_function(attention)(query, query[:, :1], *rope)
    return rotated


class Judge:
    """A decoder layer and the tokens that it is to judge: `(B, n, D)`, the input of the layer.

    What its norm and W_K make of them is computed when somebody first asks, and once: the layer
    that runs next can have the keys of the tokens that stay (`keys.Keys`).
    """

    def __init__(self, layer: nn.Module, hidden: Tensor, rope: Rope) -> None:
        self._layer, self._hidden, self._rope = cast(Any, layer), hidden, rope

    @cached_property
    def normed(self) -> Tensor:
        """`(B, n, D)`, input of the projections."""
        return self._layer.input_layernorm(self._hidden)

    @cached_property
    def projected(self) -> Tensor:
        """`(B, n, G * d)`, what W_K gives, before any norm of keys and RoPE."""
        return self._layer.self_attn.k_proj(self.normed)

    @property
    def has_projected(self) -> bool:
        """Whether anybody asked for keys."""
        return "projected" in self.__dict__

    def keys(self, rope: Rope | None = None) -> Tensor:
        """Keys after RoPE, `(B, G, n, d)`."""
        module = self._layer.self_attn
        key = self.projected.unflatten(-1, (-1, module.head_dim))
        if hasattr(module, "k_norm"):
            key = module.k_norm(key)
        key = key.transpose(1, 2)
        _, rotated = rope_function(module)(key[:, :1], key, *(rope or self._rope))
        return rotated.to(self._hidden.device)  # moves only where layers are spread over devices

    def flat_keys(self) -> Tensor:
        """The same with the heads together, `(B, n, G * d)`."""
        return self.keys().transpose(1, 2).flatten(2)

    def scores(
        self,
        last: Tensor,
        visible: Tensor,
        *,
        rope: bool = True,
        among: Tensor | None = None,
        asking: Tensor | None = None,
        most_asking: int = 0,
        cached: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """T-V scores.

        Args:
            last: `(B,)` int64, column of the last prompt token.
            visible: `(B, n)` bool, tokens up to the last prompt token, padding excluded.
            rope: rotate queries and keys; off, they are compared as they were projected.
            among: `(B, n)` bool, the columns over which the softmax runs; all visible ones if None.
            asking: `(B, n)` bool, tokens whose rows are averaged; the last prompt token if None
                (and where a row asks with none).
            most_asking: at least the largest number of asking tokens of a row, a host integer.
            cached: keys `(B, G, p, d)` of earlier tokens, and which of them can be seen, `(B, p)`
                bool; they take their part of the softmax.

        Returns:
            `(B, n)` float32 (see `swiftprof.core.scores.attention_row`).
        """
        hidden, scaling = self._hidden, self._layer.self_attn.scaling
        cos, sin = self._rope
        if not rope:
            cos, sin = torch.ones_like(cos), torch.zeros_like(sin)  # rotates by nothing
        key = self.keys((cos, sin))
        seen = visible if among is None else visible & among
        earlier = 0
        if cached is not None:
            earlier = cached[0].shape[2]
            key = torch.cat([cached[0].to(key.device), key], dim=2)
            seen = torch.cat([cached[1], seen], dim=1)
        if asking is None:
            query = self._ask(last[:, None], (cos, sin))[:, :, 0]
            return attention_row(query, key, seen, scaling)[:, earlier:]
        columns, weight = rows_asking(asking & visible, last, most_asking)
        place = torch.arange(-earlier, hidden.shape[1], device=hidden.device)
        total = torch.zeros_like(seen, dtype=torch.float32)
        for start in range(0, columns.shape[1], _ASKING_AT_ONCE):
            part = slice(start, start + _ASKING_AT_ONCE)
            before = (place <= columns[:, part, None]) & seen[:, None]  # each sees what precedes it
            before |= ~before.any(-1, keepdim=True)  # an empty row would be NaN; it weighs nothing
            query = self._ask(columns[:, part], (cos, sin))
            total += mean_attention(query, key, before, scaling, weight[:, part])
        return total[:, earlier:]

    def rows(
        self, last: Tensor, visible: Tensor, asking: Tensor, most_asking: int
    ) -> tuple[Tensor, Tensor]:
        """Rows head by head, divided by the pull of position (see `methods.view.Rows`).

        The arguments are those of `scores`.
        """
        attention, hidden = self._layer.self_attn, self._hidden
        key = self.keys().float()
        columns, weight = rows_asking(asking & visible, last, most_asking)
        query = self._ask(columns, self._rope).float()
        place = torch.arange(hidden.shape[1], device=hidden.device)
        before = (place <= columns[..., None]) & visible[:, None]
        before |= ~before.any(-1, keepdim=True)  # an empty row would be NaN; it weighs nothing
        batch, heads, count, size = query.shape
        grouped = query.view(batch, key.shape[1], -1, count, size)
        logits = grouped @ key[:, :, None].transpose(-1, -2) * attention.scaling
        rows = torch.softmax(logits.masked_fill(~before[:, None, None], float("-inf")), dim=-1)
        ones = torch.ones_like(key[:, :1])
        turned, _ = rope_function(attention)(ones, ones, *self._rope)  # (B, 1, n, d)
        asked = gather_tokens(turned[:, 0], columns)
        pull = asked @ turned[:, 0].transpose(1, 2) / size**0.5  # (B, Q, n)
        return rows.reshape(batch, heads, count, -1) / pull[:, None], weight

    def _ask(self, columns: Tensor, rope: Rope) -> Tensor:
        """Queries at columns `(B, Q)`: `(B, H, Q, d)`."""
        here = gather_rope(rope[0], columns), gather_rope(rope[1], columns)
        asking = gather_tokens(self.normed, columns)
        return queries(self._layer.self_attn, asking, here).to(self._hidden.device)
