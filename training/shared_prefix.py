"""The decoder on many questions about each image, the image's tokens computed once.

The same weights and the same result as the Hugging Face forward on every (image, question) row;
only the order of the work differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from training.batches import prefix_ids

PREFIX = len(prefix_ids())


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _qkv(layer: Any, x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> list[Tensor]:
    attn = layer.self_attn
    weight = torch.cat([attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight])
    rows, length, _ = x.shape
    qkv = F.linear(layer.input_layernorm(x), weight).view(rows, length, 3, heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return [_rotate(q, cos, sin), _rotate(k, cos, sin), v]


def _finish(layer: Any, x: Tensor, attended: Tensor) -> Tensor:
    x = x + layer.self_attn.o_proj(attended.transpose(1, 2).reshape(x.shape))
    y, mlp = layer.post_attention_layernorm(x), layer.mlp
    return x + mlp.down_proj(F.silu(mlp.gate_proj(y)) * mlp.up_proj(y))


def decoder_layer(
    layer: Any,
    prefix: Tensor,
    rows: Tensor,
    rope: list[Tensor],
    heads: int,
    hidden: Tensor,
    last: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer on both parts; also the T-V attention of each row's ``last`` token (R, visual)."""
    images, n, _ = prefix.shape
    k = rows.shape[0] // images
    pq, pk, pv = _qkv(layer, prefix, rope[0][:n], rope[1][:n], heads)
    q, rk, rv = _qkv(layer, rows, rope[0][n:], rope[1][n:], heads)
    seen = F.scaled_dot_product_attention(pq, pk, pv, is_causal=True)
    r, h, t, d = q.shape

    def merge(x: Tensor) -> Tensor:  # (B*k, H, T, c) -> (B, H, k*T, c)
        return x.view(images, k, h, t, -1).transpose(1, 2).reshape(images, h, k * t, -1)

    def split(x: Tensor) -> Tensor:  # and back
        return x.view(images, h, k, t, -1).transpose(1, 2).reshape(r, h, t, -1)

    on_prefix = split(merge(q) @ pk.transpose(-1, -2))
    on_prefix = on_prefix.masked_fill(F.pad(hidden, (PREFIX, 0))[:, None, None], -1e4)
    future = torch.ones(t, t, dtype=torch.bool).triu(1)
    on_rows = (q @ rk.transpose(-1, -2)).masked_fill(future, -1e4)
    weight = torch.softmax(torch.cat([on_prefix, on_rows], -1) * d**-0.5, -1, dtype=torch.float32)
    looks = weight[torch.arange(r), :, last, PREFIX:n].mean(1)
    weight = weight.to(q.dtype)
    attended = split(merge(weight[..., :n]) @ pv) + weight[..., n:] @ rv
    return _finish(layer, prefix, seen), _finish(layer, rows, attended), looks


def shared_prefix_forward(
    model: LlavaForConditionalGeneration,
    visual: Tensor,
    ids: Tensor,
    *,
    hidden: Tensor | None = None,
    last: Tensor | None = None,
    layer_function: Callable[..., tuple[Tensor, Tensor, Tensor]] = decoder_layer,
) -> tuple[Tensor, list[Tensor]]:
    """Logits of the question rows, and where they look.

    Args:
        visual: projected visual tokens (images, visual tokens, hidden).
        ids: question rows (R = images * k, length), k rows of an image one after the other.
        hidden: (layers, R, visual tokens) bool, what a row cannot see at a layer.
        last: (R,) int64, place of each row's last prompt token; 0 when not given.
        layer_function: `decoder_layer`, or a compiled one.

    Returns:
        logits (R, length, vocabulary), and per layer the T-V attention (R, visual tokens) of the
        last prompt token: mean over heads of a softmax over everything it sees.
    """
    decoder = model.model.language_model
    config = decoder.config
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    images = visual.shape[0]
    if hidden is None:
        hidden = torch.zeros(len(decoder.layers), len(ids), visual.shape[1], dtype=torch.bool)
    if last is None:
        last = torch.zeros(len(ids), dtype=torch.long)
    embed = model.get_input_embeddings()
    head = torch.tensor(prefix_ids()).expand(images, -1)
    prefix = torch.cat([embed(head), visual.float()], 1)
    rows = embed(ids)
    positions = torch.arange(prefix.shape[1] + rows.shape[1]).float()
    theta = config.rope_parameters["rope_theta"]
    angle = positions[:, None] * theta ** (-torch.arange(0, width, 2).float() / width)
    rope = [angle.cos(), angle.sin()]
    looks = []
    for layer, unseen in zip(decoder.layers, hidden, strict=True):
        prefix, rows, look = layer_function(layer, prefix, rows, rope, heads, unseen, last)
        looks.append(look)
    return model.lm_head(decoder.norm(rows)), looks


def shared_prefix_logits(
    model: LlavaForConditionalGeneration, visual: Tensor, ids: Tensor
) -> Tensor:
    """Logits of the question rows (R, length, vocabulary); see `shared_prefix_forward`."""
    return shared_prefix_forward(model, visual, ids)[0]
