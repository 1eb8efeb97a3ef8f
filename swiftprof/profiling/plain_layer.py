"""One decoder layer in fewer steps, for layers of the plain kind.

Most families' layers do the same: a norm, projections, rotary embedding, attention, a gated MLP,
two residuals. Re-runs spend nearly all of their time there, and on a CPU half of that in reading
and writing activations, so these layers are run here with their own weights, but in place where
that is possible, and in layer L for the tokens alone that are asked for. A layer counts as plain if
it is built of the usual parts and gives on made-up tokens what its own forward gives; any other
layer is called as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftprof.core.masks import attention_mask
from swiftprof.runtime.attention import rotary_tables
from swiftprof.runtime.decoder import Decoder

_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_TOKENS = 4
RELAID_BYTES = 2**29
"""Larger models' weights are not held twice."""
_SMALL = 2**20
"""Elements of attention maps that a CPU's cache holds. Matrix products are faster there than the
fused kernel, which is made for long sequences."""


class PlainLayer:
    """A decoder layer of the plain kind, with the weights of a model's own layer.

    Args:
        relaid: hold the weights of its projections a second time, input by output: a CPU multiplies
            few tokens by those a fifth faster, and by wide to narrow ones up to twice as fast.
    """

    def __init__(self, layer: Any, relaid: bool) -> None:
        self.layer = layer
        self._linear = {
            name.rpartition(".")[2]: (_relaid(each.weight) if relaid else each.weight, each.bias)
            for name, each in layer.named_modules()
            if type(each) is nn.Linear
        }

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
            mask: of the attention backend's kind; additive for a backend with a map.
            cache: takes the n keys and values and returns all of the past too.
            last: only the last ones of the n tokens are wanted, the others' keys and values are.
        """
        layer, attention = self.layer, self.layer.self_attn
        normed = _norm(layer.input_layernorm, hidden)
        keys = _rotated(self._heads("k", normed), *rope)
        keys, values = cache.update(keys, self._heads("v", normed), attention.layer_idx)
        if last is not None and last < hidden.shape[1]:
            hidden, normed = hidden[:, -last:].contiguous(), normed[:, -last:]
            rope = rope[0][:, -last:], rope[1][:, -last:]
            mask = mask[..., -last:, :] if mask is not None and mask.ndim == 4 else mask
        queries = _rotated(self._heads("q", normed), *rope)
        self._add(hidden, "o_proj", _attend(attention, queries, keys, values, mask))
        normed = _norm(layer.post_attention_layernorm, hidden)
        gated = F.silu(self._times("gate_proj", normed), inplace=True)
        return self._add(hidden, "down_proj", gated.mul_(self._times("up_proj", normed)))

    def _times(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, *self._linear[name])

    def _add(self, hidden: Tensor, name: str, x: Tensor) -> Tensor:
        """Add a projection of x to hidden, in place."""
        weight, bias = self._linear[name]
        hidden.view(-1, hidden.shape[-1]).addmm_(x.flatten(0, 1), weight.t())
        return hidden if bias is None else hidden.add_(bias)

    def _heads(self, name: str, normed: Tensor) -> Tensor:
        """Projected to heads, (R, heads, n, head size), not yet rotated."""
        attention = self.layer.self_attn
        projected = self._times(f"{name}_proj", normed)
        projected = projected.unflatten(-1, (-1, attention.head_dim))
        norm = getattr(attention, f"{name}_norm", None)
        return (projected if norm is None else _norm(norm, projected)).transpose(1, 2)


def _relaid(weight: Tensor) -> Tensor:
    """The same matrix, with its columns in one piece."""
    return weight.detach().t().contiguous().t()


def _norm(norm: Any, hidden: Tensor) -> Tensor:
    return F.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding: each number with the one half a head further."""
    half = x.shape[-1] // 2
    cos, sin = cos[:, None], sin[:, None]
    out = torch.mul(x, cos, out=x.new_empty(x.shape))
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


def _attend(
    attention: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """(R, heads, q, size) queries on (R, KV heads, n, size) keys → (R, q, heads * size)."""
    rows, heads, asking, size = queries.shape
    if queries.device.type == "cpu" and rows * heads * asking * keys.shape[2] <= _SMALL:
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
    relaid = all(p.device.type == "cpu" for p in weights) and (
        sum(p.numel() * p.element_size() for p in weights) <= RELAID_BYTES
    )
    usual = [decoder.mask_kind != "eager" and _is_usual(layer) for layer in decoder.layers]
    plain = [
        PlainLayer(e, relaid) if u else None for e, u in zip(decoder.layers, usual, strict=True)
    ]
    return [each if each is not None and _agrees(decoder, each) else None for each in plain]


def _is_usual(layer: Any) -> bool:
    """Whether a layer has exactly the usual parts, and nothing is put around them."""
    if {name for name, _ in layer.named_children()} != _PARTS:
        return False
    parts: dict[str, Any] = {name: getattr(layer, name) for name in _PARTS}
    attention, mlp = parts["self_attn"], parts["mlp"]
    inside = {name for name, _ in attention.named_children()}
    if (
        inside - {"q_norm", "k_norm"} != set(_PROJECTIONS)
        or {name for name, _ in mlp.named_children()} != _MLP
    ):
        return False
    linear: Sequence[Any] = [getattr(attention, n) for n in _PROJECTIONS] + [
        getattr(mlp, n) for n in _MLP - {"act_fn"}
    ]
    norms = [parts["input_layernorm"], parts["post_attention_layernorm"]]
    norms += [getattr(attention, n) for n in inside & {"q_norm", "k_norm"}]
    return (
        all(type(each) is nn.Linear for each in linear)
        and all(hasattr(n, "variance_epsilon") for n in norms)
        and hasattr(attention, "head_dim")
        and not any(_is_wrapped(module) for module in layer.modules())
    )


def _is_wrapped(module: nn.Module) -> bool:
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)


@torch.no_grad()
def _agrees(decoder: Decoder, plain: PlainLayer) -> bool:
    """Whether the quick form gives what the layer itself gives, on made-up tokens."""
    layer = plain.layer
    weight = layer.input_layernorm.weight
    angle = torch.arange(_TOKENS * len(weight), device=weight.device, dtype=torch.float32)
    hidden = torch.sin(angle * angle * 0.37).view(1, _TOKENS, -1).to(weight.dtype)
    rope = rotary_tables(decoder, hidden, 3 * torch.arange(_TOKENS, device=weight.device)[None])
    if rope[0].shape != (1, _TOKENS, layer.self_attn.head_dim):
        return False
    mask = attention_mask(
        "flash" if decoder.mask_kind == "flash" else "eager",
        None,
        batch=1,
        queries=_TOKENS,
        keys=_TOKENS,
        dtype=hidden.dtype,
        device=hidden.device,
    )
    wanted = layer(
        hidden,
        attention_mask=mask,
        position_embeddings=rope,
        position_ids=None,
        past_key_values=None,
        use_cache=False,
    )
    wanted = (wanted[0] if isinstance(wanted, tuple) else wanted) - hidden
    got = plain.run(hidden.clone(), rope, mask, NoPast()) - hidden
    tolerance = 1e-4 if hidden.dtype == torch.float32 else 0.05
    return bool((got - wanted).abs().max() <= tolerance * wanted.abs().max())


class NoPast:
    """A cache of nothing but what it is given."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return keys, values
