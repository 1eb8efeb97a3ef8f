"""LLaVA-1.5: one square image, one visual token per patch."""

from __future__ import annotations

from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.conventions import Conventions
from swiftprof.models.family import Alias, Family, read

VICUNA_7B = DecoderShape(32, 4096, 11008, 32, 32, 128)
VICUNA_13B = DecoderShape(40, 5120, 13824, 40, 40, 128)


def patches_per_side(config: Any) -> int:
    """Patches along one side of what the vision tower sees at a time; CLIP-L's 24 by default."""
    size = read(config, "vision_config", "image_size", default=336)
    patch = read(config, "vision_config", "patch_size", default=14)
    if isinstance(size, (list, tuple)):
        size, patch = size[0], patch[0] if isinstance(patch, (list, tuple)) else patch
    return max(1, int(size) // int(patch))


def _patches(config: Any) -> int:
    whole = read(config, "vision_feature_select_strategy", default="default") == "full"
    return patches_per_side(config) ** 2 + int(whole)  # the class token stays with "full"


LLAVA = Family(
    name="llava",
    title="LLaVA-1.5",
    model_types=("llava",),
    image_tokens=_patches,
    varies=False,
    counting="one per image patch: 576 for every image",
    # The bundled model is a LLaVA too; its scenes are square, so padding leaves them alone.
    conventions=Conventions(image_fit="pad"),
    nominal_tokens=576,
    aliases=(
        Alias("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf", "llama2", VICUNA_7B),
        Alias("llava-1.5-13b", "llava-hf/llava-1.5-13b-hf", "llama2", VICUNA_13B),
    ),
)
