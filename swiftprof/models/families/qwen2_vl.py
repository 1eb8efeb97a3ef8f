"""Qwen2-VL and Qwen2.5-VL: images at their own resolution, positions in time, height and width."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.conventions import Conventions
from swiftprof.models.family import Alias, Family

_QWEN2_7B = DecoderShape(28, 3584, 18944, 28, 4, 128)


def large_image(config: Any) -> int:
    """Visual tokens of an image of a million pixels."""
    return 1280


def resized(processor: Any, width: int, height: int) -> tuple[int, int]:
    """Size of an image after the processor has resized it to whole patches within its limits."""
    images = processor.image_processor
    rule: Any = sys.modules[type(images).__module__]  # there is one with torchvision, one without
    limits = dict(images.size)
    tall, wide = rule.smart_resize(
        height,
        width,
        factor=images.patch_size * images.merge_size,
        min_pixels=limits["shortest_edge"],
        max_pixels=limits["longest_edge"],
    )
    return int(wide), int(tall)


def _alias(version: str, size: str, licence: str, shape: DecoderShape) -> Alias:
    name, hub = f"qwen{version}-vl-{size.lower()}", f"Qwen/Qwen{version}-VL-{size}-Instruct"
    return Alias(name, hub, licence, shape)


QWEN2_5_VL = Family(
    name="qwen2.5-vl",
    title="Qwen2.5-VL",
    model_types=("qwen2_5_vl",),
    image_tokens=large_image,
    varies=True,
    counting="one per 28 × 28 pixels of the image as resized: 391 for 640 × 480",
    seen_size=resized,
    conventions=Conventions(prompt_style="qwen2.5", box_units="pixels"),
    aliases=(
        _alias("2.5", "3B", "qwen-research", DecoderShape(36, 2048, 11008, 16, 2, 128)),
        _alias("2.5", "7B", "apache-2.0", _QWEN2_7B),
    ),
)

QWEN2_VL = replace(
    QWEN2_5_VL,
    name="qwen2-vl",
    title="Qwen2-VL",
    model_types=("qwen2_vl",),
    conventions=Conventions(prompt_style="qwen2", box_units="thousandths"),
    aliases=(
        _alias("2", "2B", "apache-2.0", DecoderShape(28, 1536, 8960, 12, 2, 128)),
        _alias("2", "7B", "apache-2.0", _QWEN2_7B),
    ),
)
