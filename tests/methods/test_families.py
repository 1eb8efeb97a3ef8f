"""Peers on families whose positions or images are of another kind than LLaVA-1.5's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf

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
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def qwen() -> Any:
    """Positions of three dimensions; 24, 24 and 25 visual tokens."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    config = hf.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config={**vision, "patch_size": 4, "spatial_merge_size": 2},
        image_token_id=IMAGE,
        video_token_id=191,
        vision_start_token_id=192,
        vision_end_token_id=193,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.Qwen2VLForConditionalGeneration(config).eval()


def qwen_inputs(*rows: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    grids, ids, pixels = [(1, 8, 12), (1, 12, 8), (1, 10, 10)], [], []
    for (t, h, w), (a, b) in zip(grids, ((5, 9), (2, 6), (7, 12)), strict=True):
        text = torch.randint(2, 120, (a + b,), generator=generator)
        ids.append(torch.cat([text[:a], torch.full((t * h * w // 4,), IMAGE), text[a:]]))
        pixels.append(torch.randn(t * h * w, 96, generator=generator))
    length = max(len(ids[i]) for i in rows)
    padded = torch.zeros(len(rows), length, dtype=torch.long)
    for place, row in enumerate(rows):
        padded[place, length - len(ids[row]) :] = ids[row]
    return {
        "input_ids": padded,
        "attention_mask": (padded > 0).long(),
        "mm_token_type_ids": (padded == IMAGE).long(),
        "pixel_values": torch.cat([pixels[i] for i in rows]),
        "image_grid_thw": torch.tensor([grids[i] for i in rows]),
    }


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fastv", {}),
        ("pdrop", {"positions": "kept"}),
        ("sparsevlm", {"positions": "kept"}),
        ("merge", {}),
    ],
)
def test_rows_of_a_batch_are_independent_where_positions_have_three_dimensions(
    qwen: Any, plan_of: Any, generate: Any, method: str, options: dict[str, Any]
) -> None:
    plan = plan_of((3, 0.5), (5, 0.3), method=method, **options)
    words = list(range(180, 200))
    together = torch.stack(generate(qwen, qwen_inputs(0, 1, 2), plan, suppress_tokens=words).logits)
    for row in range(3):
        alone = torch.stack(generate(qwen, qwen_inputs(row), plan, suppress_tokens=words).logits)
        assert (together[:, row] - alone[:, 0]).abs().max() < 5e-4


def test_renumbering_three_dimensions_and_a_tower_without_cls_are_refused(
    qwen: Any, plan_of: Any
) -> None:
    with pytest.raises(SwiftprofError, match=r"three dimensions.*options.positions to 'kept'"):
        prune(qwen, plan_of((3, 0.5), method="pdrop"))
    with pytest.raises(SwiftprofError, match=r"CLS token's attention.*choose another method"):
        prune(qwen, plan_of((0, 0.2, 0.1), method="visionzip"))


def test_crops_are_refused_by_visionzip(plan_of: Any) -> None:
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 4,
    }
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**sizes, image_size=32, projection_dim=32),
        text_config=hf.MistralConfig(**TEXT, sliding_window=None),
        image_token_id=IMAGE,
        vision_feature_layer=-1,
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
    )
    model = hf.LlavaNextForConditionalGeneration(config).eval()
    with pytest.raises(SwiftprofError, match="cuts images into crops"):
        prune(model, plan_of((0, 0.2, 0.1), method="visionzip"))
