"""InternVL3: a thumbnail and up to twelve tiles, a quarter of the patches of each."""

from __future__ import annotations

from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.conventions import Conventions
from swiftprof.models.families.llava import patches_per_side
from swiftprof.models.family import Alias, Family, read

_TILES = 12 + 1


def _most(config: Any) -> int:
    ratio = float(read(config, "downsample_ratio", default=0.5))
    return _TILES * int(patches_per_side(config) * ratio) ** 2


def _alias(size: str, shape: DecoderShape) -> Alias:
    return Alias(f"internvl3-{size.lower()}", f"OpenGVLab/InternVL3-{size}-hf", "qwen", shape)


INTERNVL = Family(
    name="internvl",
    title="InternVL3",
    model_types=("internvl",),
    image_tokens=_most,
    varies=True,
    counting="256 per tile of the image, 256 of the thumbnail: up to 3,328",
    conventions=Conventions(prompt_style="internvl", box_units="thousandths"),
    aliases=(
        _alias("1B", DecoderShape(24, 896, 4864, 14, 2, 64)),
        _alias("2B", DecoderShape(28, 1536, 8960, 12, 2, 128)),
        _alias("8B", DecoderShape(28, 3584, 18944, 28, 4, 128)),
    ),
)
