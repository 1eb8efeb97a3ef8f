"""Deepen a trained decoder without changing what it computes.

A recipe has one word for each layer of the deeper model:

    3           trained layer 3 itself
    -           a fresh layer, silent: its output matrices are zero, so it adds nothing yet
    3-          a silent copy of layer 3: it looks where layer 3 looks, and says nothing yet
    2:01+3:13-  silent, with heads 0 and 1 of layer 2 and heads 1 and 3 of layer 3: it looks where
                both look; norms and MLP are those of the first
"""

from __future__ import annotations

import re

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

LAYER = "model.language_model.layers."
_KEY = re.compile(rf"^{re.escape(LAYER)}(\d+)\.(.*)$")
_NORM, _OUTPUTS = "input_layernorm.weight", ("self_attn.o_proj.weight", "mlp.down_proj.weight")
_HEADED = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight")

Tensors = dict[str, Tensor]


def grow(model: LlavaForConditionalGeneration, trained: Tensors, recipe: str) -> None:
    """Fill ``model`` from a shallower model's tensors.

    Raises:
        ValueError: the recipe has another length, or does not use each trained layer in order.
    """
    words = recipe.split()
    layers = _by_layer(trained)
    speaking = [int(w) for w in words if not w.endswith("-")]
    if len(words) != model.config.get_text_config().num_hidden_layers:
        raise ValueError(f"recipe names {len(words)} layers, the model has another number")
    if speaking != list(range(1, len(layers) + 1)):
        raise ValueError(f"recipe must use each of the {len(layers)} trained layers once, in order")
    heads = int(model.config.get_text_config().num_attention_heads)
    out = {k: v for k, v in trained.items() if not _KEY.match(k)}
    for number, (word, fresh) in enumerate(zip(words, _by_layer(model.state_dict()), strict=True)):
        source = _named(word.removesuffix("-"), layers, fresh, heads)
        for name, tensor in source.items():
            silent = word.endswith("-") and name in _OUTPUTS
            out[f"{LAYER}{number}.{name}"] = torch.zeros_like(tensor) if silent else tensor.clone()
    model.load_state_dict(out)


def _by_layer(tensors: Tensors) -> list[Tensors]:
    found: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        match = _KEY.match(key)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = tensor
    return [found[i] for i in sorted(found)]


def _named(word: str, layers: list[Tensors], fresh: Tensors, heads: int) -> Tensors:
    if not word:
        return fresh
    if ":" not in word:
        return layers[int(word) - 1]
    parts = [(layers[int(w.split(":")[0]) - 1], w.split(":")[1]) for w in word.split("+")]
    first = parts[0][0]
    mixed = dict(first)
    for name in _HEADED:
        rows = []
        for layer, chosen in parts:
            scale = layer[_NORM] / first[_NORM]  # the new layer has the first one's norm
            by_head = (layer[name] * scale).view(heads, -1, layer[name].shape[1])
            rows += [by_head[int(head)] for head in chosen]
        mixed[name] = torch.cat(rows)
    return mixed
