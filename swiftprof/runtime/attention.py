"""Attention rows of one layer, recomputed from its own norm, projections and rotary embedding."""

from __future__ import annotations

import sys
from collections.abc import Callable
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


def keys(attention: nn.Module, normed: Tensor, rope: Rope) -> Tensor:
    """Keys after RoPE: `(B, n, D)` → `(B, key heads, n, head size)` (see `queries`)."""
    module = cast(Any, attention)
    key = module.k_proj(normed).unflatten(-1, (-1, module.head_dim))
    if hasattr(module, "k_norm"):
        key = module.k_norm(key)
    key = key.transpose(1, 2)
    _, rotated = rope_function(attention)(key[:, :1], key, *rope)
    return rotated


def attention_scores(
    layer: nn.Module,
    hidden: Tensor,
    position_embeddings: Rope,
    last: Tensor,
    visible: Tensor,
    *,
    rope: bool = True,
    among: Tensor | None = None,
    asking: Tensor | None = None,
    most_asking: int = 0,
    cached: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """T-V scores of a layer, from its own norm, W_Q, W_K and RoPE.

    Args:
        layer: a decoder layer.
        hidden: `(B, n, D)`, the input of the layer.
        position_embeddings: cos and sin of the n tokens' positions.
        last: `(B,)` int64, column of the last prompt token.
        visible: `(B, n)` bool, tokens up to the last prompt token, padding excluded.
        rope: rotate queries and keys; off, they are compared as they were projected.
        among: `(B, n)` bool, the columns over which the softmax runs; all visible ones if None.
        asking: `(B, n)` bool, tokens whose rows are averaged; the last prompt token if None (and
            where a row asks with none).
        most_asking: at least the largest number of asking tokens of a row, a host integer.
        cached: keys `(B, G, p, d)` of earlier tokens, and which of them can be seen, `(B, p)` bool;
            they take their part of the softmax.

    Returns:
        `(B, n)` float32 (see `swiftprof.core.scores.attention_row`).
    """
    attention = cast(Any, layer).self_attn
    cos, sin = position_embeddings
    if not rope:
        cos, sin = torch.ones_like(cos), torch.zeros_like(sin)  # rotates by nothing
    normed = cast(Any, layer).input_layernorm(hidden)
    # Both move only where layers are spread over devices.
    key = keys(attention, normed, (cos, sin)).to(hidden.device)
    seen = visible if among is None else visible & among
    earlier = 0
    if cached is not None:
        earlier = cached[0].shape[2]
        key = torch.cat([cached[0].to(key.device), key], dim=2)
        seen = torch.cat([cached[1], seen], dim=1)

    def ask(columns: Tensor) -> Tensor:
        here = gather_rope(cos, columns), gather_rope(sin, columns)
        return queries(attention, gather_tokens(normed, columns), here).to(hidden.device)

    if asking is None:
        row = attention_row(ask(last[:, None])[:, :, 0], key, seen, attention.scaling)
        return row[:, earlier:]
    columns, weight = rows_asking(asking & visible, last, most_asking)
    place = torch.arange(-earlier, hidden.shape[1], device=hidden.device)
    total = torch.zeros_like(seen, dtype=torch.float32)
    for start in range(0, columns.shape[1], _ASKING_AT_ONCE):
        part = slice(start, start + _ASKING_AT_ONCE)
        before = (place <= columns[:, part, None]) & seen[:, None]  # each sees what precedes it
        before |= ~before.any(-1, keepdim=True)  # an empty row would be NaN; it weighs nothing
        total += mean_attention(
            ask(columns[:, part]), key, before, attention.scaling, weight[:, part]
        )
    return total[:, earlier:]


def attention_rows(
    layer: nn.Module,
    hidden: Tensor,
    position_embeddings: Rope,
    last: Tensor,
    visible: Tensor,
    asking: Tensor,
    most_asking: int,
) -> tuple[Tensor, Tensor]:
    """Rows head by head, divided by the pull of position (see `swiftprof.methods.view.Rows`).

    The arguments are those of `attention_scores`.
    """
    attention = cast(Any, layer).self_attn
    cos, sin = position_embeddings
    normed = cast(Any, layer).input_layernorm(hidden)
    key = keys(attention, normed, position_embeddings).to(hidden.device).float()
    columns, weight = rows_asking(asking & visible, last, most_asking)
    here = gather_rope(cos, columns), gather_rope(sin, columns)
    query = queries(attention, gather_tokens(normed, columns), here).to(hidden.device).float()
    place = torch.arange(hidden.shape[1], device=hidden.device)
    before = (place <= columns[..., None]) & visible[:, None]
    before |= ~before.any(-1, keepdim=True)  # an empty row would be NaN; it weighs nothing
    batch, heads, count, size = query.shape
    grouped = query.view(batch, key.shape[1], -1, count, size)
    logits = grouped @ key[:, :, None].transpose(-1, -2) * attention.scaling
    rows = torch.softmax(logits.masked_fill(~before[:, None, None], float("-inf")), dim=-1)
    ones = torch.ones_like(key[:, :1])
    turned, _ = rope_function(attention)(ones, ones, cos, sin)  # (B, 1, n, d)
    asked = gather_tokens(turned[:, 0], columns)
    pull = asked @ turned[:, 0].transpose(1, 2) / size**0.5  # (B, Q, n)
    return rows.reshape(batch, heads, count, -1) / pull[:, None], weight


def flat_keys(layer: nn.Module, hidden: Tensor, position_embeddings: Rope) -> Tensor:
    """A layer's keys after RoPE, `(B, n, G * d)`, from its input."""
    normed = cast(Any, layer).input_layernorm(hidden)
    key = keys(cast(Any, layer).self_attn, normed, position_embeddings).to(hidden.device)
    return key.transpose(1, 2).flatten(2)
