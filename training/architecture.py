"""The bundled model's configuration and initialisation: a small, ordinary LLaVA."""

from __future__ import annotations

import math

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.graph import CANVAS
from swiftprof.tiny.scenes.labels import PATCH

HIDDEN = 128
HEADS = 4
INTERMEDIATE = 384
TOWER_LAYERS = 5
"""The projector reads the second to last of these, as LLaVA-1.5 does."""


def build_config(layers: int) -> LlavaConfig:
    ids = vocabulary.index()
    vision = CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=HEADS,
        image_size=CANVAS,
        patch_size=PATCH,
        projection_dim=64,
    )
    text = LlamaConfig(
        vocab_size=len(vocabulary.words()),
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        pad_token_id=ids[vocabulary.PAD],
        bos_token_id=ids[vocabulary.BOS],
        eos_token_id=ids[vocabulary.EOS],
        tie_word_embeddings=False,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[vocabulary.IMAGE],
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )


def build_model(layers: int, seed: int) -> LlavaForConditionalGeneration:
    """A fresh model. Initial scales are chosen for a small width: 0.02 everywhere never learns."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(build_config(layers))
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        for name, weight in model.model.language_model.named_parameters():
            if weight.dim() < 2:
                continue
            if "embed" in name:
                weight.normal_(0, 1.0)
            elif "o_proj" in name or "down_proj" in name:
                weight.normal_(0, weight.shape[1] ** -0.5 / math.sqrt(2 * layers))
            else:
                weight.normal_(0, weight.shape[1] ** -0.5)
        model.lm_head.weight.normal_(0, 0.02)
    return model


def image_features(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Projected visual tokens (B, visual tokens, hidden) of pixels (B, 3, side, side)."""
    out = model.model.get_image_features(pixel_values=pixels)
    out = getattr(out, "pooler_output", out)
    return torch.stack(list(out)) if isinstance(out, list | tuple) else out
