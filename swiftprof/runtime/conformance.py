"""Checks that a model's attention is what the runtime takes it for: causal, and its scores its own.

Scores are recomputed from a layer's projections (see `attention.attention_scores`). A family that
does something more with its queries and keys would be scored wrongly without a sign of it; here it
is found out.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.masks import attention_mask
from swiftprof.errors import SwiftprofError
from swiftprof.runtime.attention import Judge, rotary_tables
from swiftprof.runtime.decoder import Decoder

_TOKENS = 8


@torch.no_grad()
def check_scores(decoder: Decoder, index: int) -> None:
    """Compare the scores of one layer with its eager attention map, on eight made-up tokens.

    The attention module is copied (its weights are not) to ask the copy for the eager map, so the
    model is not touched. Layers whose forward is wrapped or whose weights are offloaded are not
    checked.

    Args:
        decoder: the model's decoder.
        index: 0-based layer index.

    Raises:
        SwiftprofError: the two differ.
    """
    layer: Any = decoder.layers[index]
    attention = layer.self_attn
    weight = next((p for p in layer.parameters() if p.is_floating_point()), None)
    if weight is None or "forward" in vars(attention) or weight.device.type == "meta":
        return
    if getattr(attention, "attn_logit_softcapping", None) is not None:
        raise SwiftprofError(
            f"{type(attention).__name__} cannot be pruned: it caps its logits, which scores "
            "recomputed from its projections would not"
        )
    try:
        with torch.autocast(weight.device.type, enabled=False):
            difference = _difference(decoder, layer, weight)
    except (AttributeError, TypeError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SwiftprofError(
            f"{type(attention).__name__} cannot be pruned: its attention cannot be computed from "
            f"its projections and rotary embedding ({reason}); this family needs an adapter in "
            "swiftprof.runtime.attention"
        ) from error
    tolerance = 1e-4 if weight.dtype == torch.float32 else 3e-2
    if not difference <= tolerance:
        raise SwiftprofError(
            f"{type(attention).__name__} cannot be pruned: its attention differs from what its "
            f"projections and rotary embedding give (by {difference:.2g}); this family needs an "
            "adapter in swiftprof.runtime.attention"
        )


def _difference(decoder: Decoder, layer: Any, weight: Tensor) -> float:
    """How far a layer's scores are from its own attention map; 0 where it gives none."""
    attention = layer.self_attn
    width, device = decoder.config.hidden_size, weight.device
    angle = torch.arange(_TOKENS * width, device=device, dtype=torch.float32)
    hidden = torch.sin(angle * angle * 0.37).view(1, _TOKENS, width).to(weight.dtype)
    rope = rotary_tables(decoder, hidden, 3 * torch.arange(_TOKENS, device=device)[None])
    last = torch.full((1,), _TOKENS - 1, device=device)
    visible = torch.ones(1, _TOKENS, dtype=torch.bool, device=device)
    scores = Judge(layer, hidden, rope).scores(last, visible)

    eager = copy.copy(attention)
    eager.config = copy.copy(attention.config)
    eager.config._attn_implementation = "eager"
    causal = attention_mask(
        "eager",
        None,
        batch=1,
        queries=_TOKENS,
        keys=_TOKENS,
        dtype=hidden.dtype,
        device=device,
    )
    _, maps = eager(
        hidden_states=layer.input_layernorm(hidden),
        position_embeddings=rope,
        attention_mask=causal,
        past_key_values=None,
    )[:2]
    if maps is None:
        return 0.0
    return (maps[0, :, -1].float().mean(0) - scores[0]).abs().max().item()


def check_mask(layer: nn.Module, mask: Any, valid: Tensor, before: int) -> None:
    """Refuse a model whose tokens see what comes after them.

    Asked of families that nobody has looked at: a causal mask would change what they compute.

    Args:
        layer: a decoder layer.
        mask: what Hugging Face made for it.
        valid: `(B, L)` bool, tokens of the call that are no padding.
        before: tokens of the conversation that are in the cache.

    Raises:
        SwiftprofError: the mask is not causal, or cannot be read.
    """
    kind = type(layer).__name__
    if mask is None or (isinstance(mask, Tensor) and mask.ndim == 2):
        causal = getattr(layer.self_attn, "is_causal", True)
    elif isinstance(mask, Tensor) and mask.ndim == 4:
        seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        key = torch.arange(before + valid.shape[1], device=mask.device)
        later = key > key[before:, None]
        real = valid.to(mask.device)[:, None, :, None] & later
        causal = not bool((seen[..., : later.shape[1]] & real).any())
    else:
        raise SwiftprofError(
            f"{kind} is given a {type(mask).__name__} as its mask, which cannot be compared with a "
            "causal one: this family needs an adapter"
        )
    if not causal:
        raise SwiftprofError(
            f"{kind} cannot be pruned: its tokens see tokens behind them, so its mask is not "
            "causal; choose a model in which they see only what comes before"
        )
