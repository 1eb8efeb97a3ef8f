"""What can go wrong with a checkpoint, each in one line that says what to type next."""

from __future__ import annotations

import errno

from swiftprof.errors import SwiftprofError, reason
from swiftprof.hub import refusal
from swiftprof.models.memory import out_of_memory
from swiftprof.models.registry import ModelSource, supported

_INSTEAD = {
    "llava_llama": "it is in the format of LLaVA's own code; take llava-hf/llava-1.5-7b-hf",
    "llava_mistral": (
        "it is in the format of LLaVA's own code; take llava-hf/llava-v1.6-mistral-7b-hf"
    ),
    "llava_qwen": (
        "it is in the format of LLaVA's own code; take llava-hf/llava-onevision-qwen2-7b-ov-hf"
    ),
    "internvl_chat": "it is in the format of InternVL's own code; take the one ending in -hf",
}


def unsupported(model_type: str, where: str) -> SwiftprofError:
    """The error for a model type that no family has."""
    if not model_type:
        return SwiftprofError(
            f"{where}: has no config.json with a model_type; give a transformers checkpoint"
        )
    what = _INSTEAD.get(model_type)
    if what is None:
        what = f"supported are {supported()}; docs/models.md tells how to add a family"
    return SwiftprofError(f"{where}: models of type '{model_type}' are not supported: {what}")


def explain(error: BaseException, source: ModelSource, revision: str | None) -> str:
    """Why a model cannot be read, and what to do."""
    what = f"model {source.name!r}"
    if why := refusal(error, source.id, revision):
        return f"{what}: {why}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{what}: the disk is full; free space, or point HF_HOME to another"
    if out_of_memory(error):
        return (
            f"{what}: out of memory while it was read; try `dtype` bfloat16, `load_in_4bit` or "
            "`device_map` auto"
        )
    if isinstance(error, ImportError):
        return f"{what}: {reason(error)}"
    return f"{what} cannot be loaded from {source.id}: {reason(error)}"
