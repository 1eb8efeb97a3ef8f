"""LLaVA-NeXT (1.6): the whole image and up to four tiles of it, each tile row with a newline."""

from __future__ import annotations

from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.families.llava import VICUNA_7B, VICUNA_13B, patches_per_side
from swiftprof.models.family import Alias, Family, read

_MISTRAL_7B = DecoderShape(32, 4096, 14336, 32, 8, 128)
_PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


def _most(config: Any) -> int:
    side = patches_per_side(config)
    size = read(config, "vision_config", "image_size", default=336)
    grids = read(config, "image_grid_pinpoints", default=_PINPOINTS)
    tiles = [(int(h) // size, int(w) // size) for h, w in grids]
    return side**2 + max(rows * side * (columns * side + 1) for rows, columns in tiles)


def _alias(size: str, text_model: str, licence: str, shape: DecoderShape) -> Alias:
    return Alias(f"llava-next-{size}", f"llava-hf/llava-v1.6-{text_model}-hf", licence, shape)


LLAVA_NEXT = Family(
    name="llava-next",
    title="LLaVA-NeXT",
    model_types=("llava_next",),
    image_tokens=_most,
    varies=True,
    counting="patches of the image and of its tiles, and a newline token per row: up to 2,928",
    # No publication says which frame its boxes have; the image's.
    nominal_tokens=5 * 576,  # the image and four tiles, without newlines: what papers count with
    aliases=(
        _alias("7b", "vicuna-7b", "llama2", VICUNA_7B),
        _alias("7b-mistral", "mistral-7b", "apache-2.0", _MISTRAL_7B),
        _alias("13b", "vicuna-13b", "llama2", VICUNA_13B),
    ),
)
