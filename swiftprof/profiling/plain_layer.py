"""One decoder layer in fewer and faster steps, for layers of the plain kind on a CPU.

Most families' layers do the same: a norm, projections, rotary embedding, attention, a gated MLP,
two residuals. Profiling spends nearly all of its time there, and on a CPU half of that in reading
and writing activations. So these layers are run here, in place where that is possible, and with a
copy of their weights that is laid out for it:

- projections lie input by output, which a CPU multiplies few tokens by a fifth faster, and by wide
  to narrow ones up to twice as fast;
- the norms' weights are multiplied into the projections behind them;
- queries, keys and values are one product, the two numbers that the rotary embedding turns together
  stand side by side, and it turns queries and keys as complex numbers.

A layer counts as plain if it is built of the usual parts and gives on made-up tokens what its own
forward gives; any other layer is called as it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftprof.runtime.attention import rotary_tables
from swiftprof.runtime.decoder import Decoder

WEIGHT_BYTES = 2**29
"""The weights of larger models are not held twice."""
SHORT = 2**13
"""Queries times keys for which matrix products are faster than the backend's fused attention."""
_TOKENS = 4
_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
_NORMS = {"input_layernorm", "post_attention_layernorm", "q_norm", "k_norm"}


class PlainLayer:
    """A decoder layer of the plain kind, with a copy of its weights."""

    def __init__(self, layer: Any) -> None:
        self.layer, attention, mlp = layer, layer.self_attn, layer.mlp
        self.attention, size = attention, attention.head_dim
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        self._heads = len(q.weight) // size
        self._turned = (len(q.weight) + len(k.weight)) // size
        before, behind = layer.input_layernorm, layer.post_attention_layernorm
        qkv = torch.cat([_pairs(q.weight, size), _pairs(k.weight, size), v.weight])
        self._qkv = _laid_out(qkv * before.weight)
        self._qkv_bias = None
        if q.bias is not None:
            self._qkv_bias = torch.cat([_pairs(q.bias, size), _pairs(k.bias, size), v.bias])
        self._epsilon = torch.tensor(before.variance_epsilon)
        self._head_norm = None
        if hasattr(attention, "q_norm"):
            both = [(attention.q_norm, self._heads), (attention.k_norm, self._turned - self._heads)]
            self._head_norm = torch.cat([_pairs(n.weight, size).repeat(h, 1) for n, h in both])
        self._o = _laid_out(attention.o_proj.weight)
        self._gate = _laid_out(mlp.gate_proj.weight * behind.weight)
        self._up = _laid_out(mlp.up_proj.weight * behind.weight)
        self._down = _laid_out(mlp.down_proj.weight)

    def run(
        self,
        hidden: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: Any,
        last: int | None = None,
    ) -> Tensor:
        """The layer's output, written over its input.

        Args:
            hidden: (R, n, d).
            rope: cos and sin, (R, n, head size).
            mask: additive or bool; None for a causal one, or for one token that sees everything.
            cache: takes the n keys and values and returns all of the past too. Numbers of keys are
                in an order of this class's own.
            last: only the last ones of the n tokens are wanted, the others' keys and values are.
        """
        queries, keys, values = self._projected(hidden, rope)
        keys, values = cache.update(keys, values, self.attention.layer_idx)
        if last is not None and last < hidden.shape[1]:
            hidden, queries = hidden[:, -last:].contiguous(), queries[:, :, -last:]
            if mask is None and last > 1:
                mask = torch.ones(last, keys.shape[2], dtype=torch.bool).tril(keys.shape[2] - last)
            elif mask is not None:
                mask = mask[..., -last:, :]
        seen = _attend(self.attention, queries, keys, values, mask)
        _add(hidden, seen, self._o, self.layer.self_attn.o_proj.bias)
        normed, mlp = _normed(hidden, self._epsilon), self.layer.mlp
        gated = F.silu(F.linear(normed, self._gate, mlp.gate_proj.bias), inplace=True)
        gated = gated.mul_(F.linear(normed, self._up, mlp.up_proj.bias))
        return _add(hidden, gated, self._down, mlp.down_proj.bias)

    def query(self, hidden: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """Queries that fit the keys, (R, n, d) → (R, heads, n, head size)."""
        return self._projected(hidden, rope)[0]

    def _projected(
        self, hidden: Tensor, rope: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (R, heads, n, head size) each."""
        normed = _normed(hidden, self._epsilon)
        heads = F.linear(normed, self._qkv, self._qkv_bias)
        heads = heads.unflatten(-1, (-1, self.attention.head_dim))
        turned = heads[:, :, : self._turned]
        if self._head_norm is not None:
            turned = _normed(turned, self._epsilon).mul_(self._head_norm)
        half = turned.shape[-1] // 2
        angle = torch.complex(rope[0][..., None, :half], rope[1][..., None, :half])
        torch.view_as_complex(turned.unflatten(-1, (half, 2))).mul_(angle)
        queries, keys = turned[:, :, : self._heads], turned[:, :, self._heads :]
        values = heads[:, :, self._turned :]
        return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)


def _laid_out(weight: Tensor) -> Tensor:
    """The same matrix, input by output in memory."""
    return weight.detach().t().contiguous().t()


def _pairs(rows: Tensor, size: int) -> Tensor:
    """Rows of heads with each number beside the one half a head further."""
    shape = rows.shape
    return rows.detach().view(-1, 2, size // 2, *shape[1:]).transpose(1, 2).reshape(shape)


def _normed(hidden: Tensor, epsilon: Tensor) -> Tensor:
    """The norm without its weight."""
    length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    mean = torch.addcmul(epsilon, length, length, value=1 / hidden.shape[-1])
    return hidden * mean.rsqrt_()


def _add(hidden: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Add a projection of x to hidden, in place."""
    hidden.view(-1, hidden.shape[-1]).addmm_(x.flatten(0, 1), weight.t())
    return hidden if bias is None else hidden.add_(bias)


def _attend(
    attention: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """(R, heads, q, size) queries on (R, KV heads, n, size) keys → (R, q, heads * size)."""
    rows, heads, asking, size = queries.shape
    additive = mask.is_floating_point() if mask is not None else asking == 1
    if additive and asking * keys.shape[2] <= SHORT:
        groups = heads // keys.shape[1]
        grouped = queries.reshape(rows, keys.shape[1], groups * asking, size)
        scores = (grouped @ keys.mT).view(rows, heads, asking, -1)
        if mask is None:
            scores *= attention.scaling
        else:
            torch.add(mask, scores, alpha=attention.scaling, out=scores)
        weights = scores.softmax(-1).view(rows, keys.shape[1], groups * asking, -1)
        seen = (weights @ values).view(rows, heads, asking, size).transpose(1, 2)
    else:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        attend = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation]
        seen, _ = attend(
            attention, queries, keys, values, mask, dropout=0.0, scaling=attention.scaling
        )
    return seen.reshape(rows, asking, -1)


def plain_layers(decoder: Decoder) -> list[PlainLayer | None]:
    """For every layer of a decoder its quick form, None where it is not of the plain kind."""
    weights = [p for layer in decoder.layers for p in layer.parameters()]
    suits = (
        decoder.mask_kind == "sdpa"
        and all(p.device.type == "cpu" and p.dtype == torch.float32 for p in weights)
        and sum(p.nbytes for p in weights) <= WEIGHT_BYTES
    )
    return [_plain(decoder, each) if suits and _is_usual(each) else None for each in decoder.layers]


def _is_usual(layer: Any) -> bool:
    """Whether a layer has exactly the usual parts, and nothing is put around them."""
    parts = {path.rpartition(".")[2]: module for path, module in layer.named_modules() if path}
    names = {name for name, _ in layer.named_children()}
    if names != _PARTS or parts.keys() - {"q_norm", "k_norm"} != _PARTS | _LINEAR | {"act_fn"}:
        return False
    norms = _NORMS & parts.keys()
    return (
        all(type(parts[name]) is nn.Linear for name in _LINEAR)
        and all(hasattr(parts[name], "variance_epsilon") for name in norms)
        and len({parts[name].variance_epsilon for name in norms}) == 1
        and ("q_norm" in parts) == ("k_norm" in parts)
        and hasattr(layer.self_attn, "head_dim")
        and not any(_is_wrapped(module) for module in layer.modules())
    )


def _is_wrapped(module: nn.Module) -> bool:
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)


@torch.no_grad()
def _plain(decoder: Decoder, layer: Any) -> PlainLayer | None:
    """The quick form of a layer if it gives, on made-up tokens, what the layer itself gives."""
    weight = layer.input_layernorm.weight
    angle = torch.arange(_TOKENS * len(weight), dtype=torch.float32)
    hidden = torch.sin(angle * angle * 0.37).view(1, _TOKENS, -1)
    rope = rotary_tables(decoder, hidden, 3 * torch.arange(_TOKENS)[None])
    if rope[0].shape != (1, _TOKENS, layer.self_attn.head_dim):
        return None
    mask = torch.full((1, 1, _TOKENS, _TOKENS), torch.finfo(torch.float32).min).triu(1)
    wanted = layer(
        hidden,
        attention_mask=mask,
        position_embeddings=rope,
        position_ids=None,
        past_key_values=None,
        use_cache=False,
    )
    wanted = (wanted[0] if isinstance(wanted, tuple) else wanted) - hidden
    plain = PlainLayer(layer)
    got = plain.run(hidden.clone(), rope, mask, _NoPast()) - hidden
    return plain if bool((got - wanted).abs().max() <= 1e-4 * wanted.abs().max()) else None


class _NoPast:
    """A cache of nothing but what it is given."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return keys, values
