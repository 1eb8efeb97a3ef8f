"""The families that come with swiftprof: one file each, one line here for each `model_type`.

A family's file is read when a model needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from swiftprof.models.family import Family

PLACES: Mapping[str, str] = {
    "llava": "llava:LLAVA",
    "llava_next": "llava_next:LLAVA_NEXT",
    "llava_onevision": "llava_onevision:LLAVA_ONEVISION",
    "qwen2_5_vl": "qwen2_vl:QWEN2_5_VL",
    "qwen3_vl": "qwen3_vl:QWEN3_VL",
    "qwen3_vl_moe": "qwen3_vl:QWEN3_VL",
    "internvl": "internvl:INTERNVL",
    "smolvlm": "smolvlm:SMOLVLM",
    "idefics3": "smolvlm:SMOLVLM",
    "qwen2_vl": "qwen2_vl:QWEN2_VL",
}
"""`config.model_type` → the file here and the family's name in it."""


def built_in(model_type: str) -> Family | None:
    """The family of a model type; None where none of these has it."""
    return _read(PLACES[model_type]) if model_type in PLACES else None


def every_built_in() -> tuple[Family, ...]:
    """All of them."""
    return tuple(_read(place) for place in dict.fromkeys(PLACES.values()))


def _read(place: str) -> Family:
    file, _, name = place.partition(":")
    family: Family = getattr(import_module(f"{__name__}.{file}"), name)
    return family
