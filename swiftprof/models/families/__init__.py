"""The families that come with swiftprof: one file each, one line here."""

from __future__ import annotations

from swiftprof.models.families.internvl import INTERNVL
from swiftprof.models.families.llava import LLAVA
from swiftprof.models.families.llava_next import LLAVA_NEXT
from swiftprof.models.families.llava_onevision import LLAVA_ONEVISION
from swiftprof.models.families.qwen2_vl import QWEN2_5_VL, QWEN2_VL
from swiftprof.models.families.qwen3_vl import QWEN3_VL
from swiftprof.models.families.smolvlm import SMOLVLM

__all__ = ["BUILT_IN"]

BUILT_IN = (
    LLAVA,
    LLAVA_NEXT,
    LLAVA_ONEVISION,
    QWEN2_5_VL,
    QWEN3_VL,
    INTERNVL,
    SMOLVLM,
    QWEN2_VL,
)
