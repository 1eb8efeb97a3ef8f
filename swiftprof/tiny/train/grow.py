"""Deepen a trained decoder: its layers keep their work, the new ones start as the identity."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

_LAYER = re.compile(r"^model\.language_model\.layers\.(\d+)\.(.*)$")


def grow(
    model: LlavaForConditionalGeneration, trained: dict[str, Tensor], places: tuple[int, ...]
) -> None:
    """Load ``trained`` into a deeper ``model``.

    Args:
        places: for each trained layer, the layer (1-based) of the deeper model that takes it.
    """
    state = model.state_dict()
    out = {k: v for k, v in trained.items() if not _LAYER.match(k)}
    for key, own in state.items():
        found = _LAYER.match(key)
        if not found:
            out.setdefault(key, own)
            continue
        layer, rest = int(found[1]) + 1, found[2]
        if layer in places:
            source = places.index(layer)
            out[key] = trained[f"model.language_model.layers.{source}.{rest}"]
        else:
            silent = "o_proj" in rest or "down_proj" in rest
            out[key] = torch.zeros_like(own) if silent else own
    model.load_state_dict(out)
