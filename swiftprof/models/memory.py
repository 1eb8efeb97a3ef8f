"""How much memory a model will need, from its configuration alone, and what there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import SwiftprofError
from swiftprof.models.family import Family
from swiftprof.models.registry import ModelSource
from swiftprof.models.settings import LoadSettings

RERUN_CACHE = 1.25
"""Keys and values that a profile's re-runs hold, as a multiple of those of the vanilla run."""
_GIB = 2**30
_TEXT = 128
"""Tokens of a prompt beside the visual ones, and of its answer."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Need:
    """Bytes for one prompt with one large image."""

    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.activations


def estimate(config: Any, family: Family, dtype: str, bits: int | None = None) -> Need:
    """Memory for the weights and for one prompt with one large image.

    Args:
        config: a transformers configuration.
        family: its family.
        dtype: `float32`, `bfloat16`, `float16`; `auto` is the checkpoint's own.
        bits: bits of quantised weights.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):  # counted on a model without storage
        model = AutoModelForImageTextToText.from_config(config)
    head = model.get_output_embeddings()
    linear = sum(
        m.weight.numel()
        for m in model.modules()
        if isinstance(m, torch.nn.Linear) and m is not head
    )
    other = sum(p.numel() for p in model.parameters()) - linear  # tied weights once
    text = config.get_text_config()
    own = str(getattr(config, "dtype", None) or getattr(text, "dtype", None))
    size = _BYTES.get(own.removeprefix("torch.") if dtype == "auto" else dtype, 4)
    shape, tokens = DecoderShape.from_config(text), family.image_tokens(config) + _TEXT
    return Need(
        weights=(linear * bits // 8 if bits else linear * size) + other * size,
        cache=int(cache_bytes(shape, shape.num_layers, tokens, size)),
        activations=int(activation_bytes(shape, tokens, size)) + logits_bytes(int(text.vocab_size)),
    )


def cache_bytes(shape: DecoderShape, layers: int, tokens: float, size: int) -> float:
    """Keys and values of some tokens in some layers, `size` bytes a number."""
    return 2 * layers * shape.key_size * tokens * size


def activation_bytes(shape: DecoderShape, tokens: float, size: int) -> float:
    """What one layer holds at most while some tokens run through it."""
    layer = 6 * shape.hidden_size + 2 * shape.query_size + 3 * shape.intermediate_size
    return tokens * layer * size


def logits_bytes(vocabulary: int) -> int:
    """Logits of one position, with float32 copies."""
    return 4 * vocabulary * 4


def free_memory(device: str) -> int | None:
    """Bytes that are free on a device; None where that cannot be told."""
    import torch

    kind = torch.device(device)
    if kind.type == "cuda":
        return int(torch.cuda.mem_get_info(kind)[0])
    if kind.type != "cpu":
        return None
    limits = [each for each in (_available(), _group_limit()) if each is not None]
    return min(limits) if limits else None


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _group_limit() -> int | None:
    """What a container's limit leaves (cgroup v2)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        cached = (folder / "memory.stat").read_text().split("inactive_file ")[1].split()[0]
        return int(limit) - used + int(cached)
    except (OSError, ValueError, IndexError):
        return None


def check_fits(source: ModelSource, config: Any, family: Family, settings: LoadSettings) -> None:
    """Refuse a model that needs more memory than is free. Raises SwiftprofError."""
    if settings.device_map is not None:
        return  # accelerate spreads it, on the disk if need be
    free = free_memory(settings.device)
    if free is None:
        return
    need = estimate(config, family, settings.dtype, settings.bits)
    if need.total > free:
        raise SwiftprofError(
            f"model {source.name!r} needs about {_gib(need.total)} on {settings.device} (weights "
            f"{_gib(need.weights)}, KV cache {_gib(need.cache)}, activations "
            f"{_gib(need.activations)}), {_gib(free)} are free; try `dtype` bfloat16, "
            "`load_in_4bit` or `device_map` auto; `ignore_memory` tries all the same"
        )


def _gib(number: int) -> str:
    return f"{number / _GIB:.1f} GiB"
