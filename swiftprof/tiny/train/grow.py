"""Deepen a trained decoder without changing what it computes.

A recipe names, for each layer of the deeper model, the trained layer it starts from. ``3`` is
trained layer 3 itself; ``3-`` is a silent copy of it: the same norms, attention and MLP, but output
matrices of zero, so it adds nothing yet. A silent copy already looks where its original looks and
only has to learn what to say, which is faster than a fresh layer. ``-`` alone is a fresh silent
layer.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

_LAYER = re.compile(r"^model\.language_model\.layers\.(\d+)\.(.*)$")


def grow(model: LlavaForConditionalGeneration, trained: dict[str, Tensor], recipe: str) -> None:
    """Fill ``model`` from a shallower model's tensors.

    Args:
        recipe: one word per layer of ``model``, e.g. ``"1 2- 2 - 3"``.

    Raises:
        ValueError: the recipe has another length, or does not use each trained layer in order.
    """
    words = recipe.split()
    depth = 1 + max(int(found[1]) for k in trained if (found := _LAYER.match(k)))
    speaking = [int(w) for w in words if not w.endswith("-")]
    if len(words) != model.config.get_text_config().num_hidden_layers:
        raise ValueError(f"recipe names {len(words)} layers, the model has another number")
    if speaking != list(range(1, depth + 1)):
        raise ValueError(f"recipe must use each of the {depth} trained layers once, in order")
    out = {k: v for k, v in trained.items() if not _LAYER.match(k)}
    for key, fresh in model.state_dict().items():
        found = _LAYER.match(key)
        if not found:
            continue
        word, rest = words[int(found[1])], found[2]
        number = word.removesuffix("-")
        source = fresh
        if number:
            source = trained[f"model.language_model.layers.{int(number) - 1}.{rest}"]
        silent = word.endswith("-") and ("o_proj" in rest or "down_proj" in rest)
        out[key] = torch.zeros_like(source) if silent else source.clone()
    model.load_state_dict(out)
