"""Other families than LLaVA-1.5, tiny and random: the same hooks, no code of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.prune import prune

IMAGE = 190
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 200,
    "max_position_embeddings": 2048,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 4,
}
QWEN_IDS = {
    "image_token_id": IMAGE,
    "video_token_id": 191,
    "vision_start_token_id": 192,
    "vision_end_token_id": 193,
}

Family = tuple[Any, list[dict[str, Tensor]], list[int]]
"""A model, the image inputs of three prompts, and their numbers of visual tokens."""


def _counts(model: Any, inputs: list[dict[str, Tensor]], **options: Any) -> list[int]:
    counts = []
    for each in inputs:
        features = model.get_image_features(**each, **options)
        counts.append(sum(f.shape[0] for f in getattr(features, "pooler_output", features)))
    return counts


def _tiles() -> list[dict[str, Tensor]]:
    sizes = [(30, 64), (64, 40), (64, 64)]
    return [
        {"pixel_values": torch.randn(1, 5, 3, 32, 32), "image_sizes": torch.tensor([s])}
        for s in sizes
    ]


def llava_next() -> Family:
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**VISION, image_size=32, projection_dim=32),
        text_config=hf.MistralConfig(**TEXT, sliding_window=None),
        image_token_id=IMAGE,
        vision_feature_layer=-1,
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
    )
    model, inputs = hf.LlavaNextForConditionalGeneration(config), _tiles()
    layer = {"vision_feature_layer": -1, "vision_feature_select_strategy": "default"}
    return model, inputs, _counts(model, inputs, **layer)


def llava_onevision() -> Family:
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**VISION, image_size=32),
        text_config=hf.Qwen2Config(**TEXT),
        image_token_id=IMAGE,
        video_token_id=191,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
    )
    model, inputs = hf.LlavaOnevisionForConditionalGeneration(config), _tiles()
    return model, inputs, _counts(model, inputs)


def _grids(model: Any) -> Family:
    grids = [(1, 8, 12), (1, 12, 8), (1, 10, 10)]
    inputs = [
        {
            "pixel_values": torch.randn(t * h * w, 3 * 2 * 4 * 4),
            "image_grid_thw": torch.tensor([[t, h, w]]),
        }
        for t, h, w in grids
    ]
    return model, inputs, [t * h * w // 4 for t, h, w in grids]


def _rope(**options: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **options}}


def qwen2_vl() -> Family:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    config = hf.Qwen2VLConfig(
        text_config={**TEXT, **_rope(mrope_section=[2, 3, 3])},
        vision_config={**vision, "patch_size": 4, "spatial_merge_size": 2},
        **QWEN_IDS,
    )
    return _grids(hf.Qwen2VLForConditionalGeneration(config))


def qwen2_5_vl() -> Family:
    config = hf.Qwen2_5_VLConfig(
        text_config={**TEXT, **_rope(mrope_section=[2, 3, 3])},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 64,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        **QWEN_IDS,
    )
    return _grids(hf.Qwen2_5_VLForConditionalGeneration(config))


def qwen3_vl() -> Family:
    config = hf.Qwen3VLConfig(
        text_config={
            **TEXT,
            "head_dim": 16,
            **_rope(mrope_section=[4, 2, 2], mrope_interleaved=True),
        },
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        **QWEN_IDS,
    )
    return _grids(hf.Qwen3VLForConditionalGeneration(config))


def smolvlm() -> Family:
    config = hf.SmolVLMConfig(
        vision_config={**VISION, "image_size": 64},
        text_config=hf.LlamaConfig(**TEXT),
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=0,
    )
    inputs = [{"pixel_values": torch.randn(1, 1, 3, 64, 64)} for _ in range(3)]
    return hf.SmolVLMForConditionalGeneration(config), inputs, [64] * 3


def internvl() -> Family:
    config = hf.InternVLConfig(
        vision_config={**VISION, "image_size": [64, 64], "patch_size": [4, 4]},
        text_config=hf.Qwen2Config(**TEXT),
        image_token_id=IMAGE,
        downsample_ratio=0.5,
    )
    inputs = [{"pixel_values": torch.randn(1, 3, 64, 64)} for _ in range(3)]
    return hf.InternVLForConditionalGeneration(config), inputs, [64] * 3


FAMILIES = [llava_next, llava_onevision, qwen2_vl, qwen2_5_vl, qwen3_vl, smolvlm, internvl]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
@torch.no_grad()
def test_a_family_is_exact(family: Callable[[], Family], plan_of: Any, generate: Any) -> None:
    """Keeping everything is vanilla; rows of a padded, uneven batch equal single runs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, images, counts = family()
    model.eval().set_attn_implementation("sdpa")
    generator = torch.Generator().manual_seed(1)

    def text(n: int) -> Tensor:
        return torch.randint(2, 120, (n,), generator=generator)

    spans = zip(counts, ((5, 9), (2, 6), (7, 12)), strict=True)
    prompts = [torch.cat([text(a), torch.full((n,), IMAGE), text(b)]) for n, (a, b) in spans]

    def batch(*rows: int) -> dict[str, Tensor]:
        length = max(len(prompts[i]) for i in rows)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        for b, i in enumerate(rows):
            ids[b, length - len(prompts[i]) :] = prompts[i]
        inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
        for key in images[0]:
            inputs[key] = torch.cat([images[i][key] for i in rows])
        if "image_grid_thw" in inputs:
            inputs["mm_token_type_ids"] = (ids == IMAGE).long()
        return inputs

    def logits(rows: tuple[int, ...], plan: Any = None) -> Tensor:
        out = generate(model, batch(*rows), plan, suppress_tokens=list(range(180, 200)))
        return torch.stack(out.logits, 1)

    vanilla = logits((0, 1, 2))
    assert torch.equal(vanilla, logits((0, 1, 2), plan_of((4, 1.0), (6, 1.0))))
    plan = plan_of((4, 0.5, 0.1), (6, 0.25, 0.05), (8, 0.1))
    together = logits((0, 1, 2), plan)
    assert (together - vanilla).abs().max() > 0.05
    for row in range(3):
        alone = logits((row,), plan)
        assert (together[row] - alone[0]).abs().max() < 5e-4
    # The same prompts without a cache: the whole sequence again for every token.
    plain = generate(model, batch(0), plan, use_cache=False, max_new_tokens=1, min_new_tokens=1)
    assert (plain.logits[0] - logits((0,), plan)[:, 0]).abs().max() < 1e-4


def test_a_family_that_changes_its_queries_is_refused(
    llava: Any, plan_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attention that does more than projections and RoPE would be scored wrongly."""
    attention = type(llava.get_decoder().layers[2].self_attn)

    class Odd(attention):  # type: ignore[misc, valid-type]
        def forward(self, hidden_states: Tensor, **kwargs: Any) -> Any:
            return super().forward(hidden_states * 3, **kwargs)

    Odd.__module__ = attention.__module__
    llava.get_decoder().layers[2].self_attn.__class__ = Odd
    with pytest.raises(SwiftprofError, match="Odd cannot be pruned"):
        prune(llava, plan_of((3, 0.5))).attach()
