"""A check, when hooks are attached, that the T-V scores are those of the model's own attention.

Scores are recomputed from a layer's projections (see `attention.attention_scores`). A family that
does something more with its queries and keys would be scored wrongly without a sign of it; here it
is found out.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from swiftprof.core.masks import attention_mask
from swiftprof.errors import SwiftprofError
from swiftprof.runtime.attention import attention_scores, rotary_tables
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
    attention, weight = layer.self_attn, layer.input_layernorm.weight
    if "forward" in vars(attention) or weight.device.type == "meta":
        return
    width, device = weight.shape[-1], weight.device
    angle = torch.arange(_TOKENS * width, device=device, dtype=torch.float32)
    hidden = torch.sin(angle * angle * 0.37).view(1, _TOKENS, width).to(weight.dtype)
    rope = rotary_tables(decoder, hidden, 3 * torch.arange(_TOKENS, device=device)[None])
    last = torch.full((1,), _TOKENS - 1, device=device)
    visible = torch.ones(1, _TOKENS, dtype=torch.bool, device=device)
    scores = attention_scores(layer, hidden, rope, last, visible)

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
        return
    tolerance = 1e-4 if hidden.dtype == torch.float32 else 3e-2
    difference = (maps[0, :, -1].float().mean(0) - scores[0]).abs().max().item()
    if not difference <= tolerance:
        raise SwiftprofError(
            f"{type(attention).__name__} cannot be pruned: its attention differs from what its "
            f"projections and rotary embedding give (by {difference:.2g}); this family needs an "
            "adapter in swiftprof.runtime.decoder"
        )
