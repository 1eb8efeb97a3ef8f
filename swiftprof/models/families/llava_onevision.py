"""LLaVA-OneVision: tiles as in LLaVA-NeXT, but many more, shrunk where they exceed nine."""

from __future__ import annotations

from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.families.llava import patches_per_side
from swiftprof.models.family import Alias, Family, read


def _most(config: Any) -> int:
    side = patches_per_side(config)
    limit = str(read(config, "vision_aspect_ratio", default="anyres_max_9")).rsplit("_", 1)[-1]
    tiles = int(limit) if limit.isdecimal() else 9
    rows = round(tiles**0.5 * side)
    return side**2 + tiles * side**2 + rows


def _alias(size: str, shape: DecoderShape) -> Alias:
    hub = f"llava-hf/llava-onevision-qwen2-{size}-ov-hf"
    return Alias(f"llava-onevision-{size}", hub, "apache-2.0", shape)


LLAVA_ONEVISION = Family(
    name="llava-onevision",
    title="LLaVA-OneVision",
    model_types=("llava_onevision",),
    image_tokens=_most,
    varies=True,
    counting="patches of the image and of its tiles, and a newline token per row: up to 7,371",
    aliases=(
        _alias("0.5b", DecoderShape(24, 896, 4864, 14, 2, 64)),
        _alias("7b", DecoderShape(28, 3584, 18944, 28, 4, 128)),
    ),
)
