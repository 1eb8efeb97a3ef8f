"""Qwen3-VL: as Qwen2.5-VL, and vision features are added again after the first decoder layers."""

from __future__ import annotations

from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.conventions import Conventions
from swiftprof.models.families.qwen2_vl import large_image, resized
from swiftprof.models.family import Alias, Family, read


def _deepstack(config: Any) -> int:
    return len(read(config, "vision_config", "deepstack_visual_indexes", default=()))


def _alias(size: str, shape: DecoderShape) -> Alias:
    return Alias(f"qwen3-vl-{size.lower()}", f"Qwen/Qwen3-VL-{size}-Instruct", "apache-2.0", shape)


QWEN3_VL = Family(
    name="qwen3-vl",
    title="Qwen3-VL",
    model_types=("qwen3_vl", "qwen3_vl_moe"),
    image_tokens=large_image,
    varies=True,
    counting="one per 32 × 32 pixels of the image as resized: 300 for 640 × 480",
    vision_layers=_deepstack,
    seen_size=resized,
    conventions=Conventions(prompt_style="qwen3", box_units="thousandths"),
    aliases=(
        _alias("2B", DecoderShape(28, 2048, 6144, 16, 8, 128)),
        _alias("4B", DecoderShape(36, 2560, 9728, 32, 8, 128)),
        _alias("8B", DecoderShape(36, 4096, 12288, 32, 8, 128)),
    ),
)
