"""SmolVLM and Idefics3: the whole image and its tiles, with text between them."""

from __future__ import annotations

from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.conventions import Conventions
from swiftprof.models.families.llava import patches_per_side
from swiftprof.models.family import Alias, Family, read

_TILES = 16 + 1
_SMOLLM2 = DecoderShape(24, 2048, 8192, 32, 32, 64)


def _most(config: Any) -> int:
    return _TILES * (patches_per_side(config) // int(read(config, "scale_factor", default=2))) ** 2


def _alias(name: str, hub: str, shape: DecoderShape) -> Alias:
    return Alias(name, f"HuggingFaceTB/{hub}", "apache-2.0", shape)


SMOLVLM = Family(
    name="smolvlm",
    title="SmolVLM and Idefics3",
    model_types=("smolvlm", "idefics3"),
    image_tokens=_most,
    varies=True,
    counting="64 to 169 per tile of the image and of the whole of it, up to 17 tiles",
    decoder="model.text_model",
    conventions=Conventions(prompt_style="lmms"),
    aliases=(
        _alias("smolvlm-256m", "SmolVLM-256M-Instruct", DecoderShape(30, 576, 1536, 9, 3, 64)),
        _alias("smolvlm-500m", "SmolVLM-500M-Instruct", DecoderShape(32, 960, 2560, 15, 5, 64)),
        _alias("smolvlm", "SmolVLM-Instruct", _SMOLLM2),
        _alias("smolvlm2", "SmolVLM2-2.2B-Instruct", _SMOLLM2),
        Alias(
            "idefics3-8b",
            "HuggingFaceM4/Idefics3-8B-Llama3",
            "apache-2.0",
            DecoderShape(32, 4096, 14336, 32, 8, 128),
        ),
    ),
)
