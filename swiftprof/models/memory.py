"""Memory: what a model needs and what is free, how much runs together, and what to do when it ends.

``--batch-size auto`` is an estimate, made of sizes alone. One that is too high is found out by
running out of memory, and whoever runs the batches then makes them smaller. No result depends on
it.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftprof.core.stages import BASE_LAYER
from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import SwiftprofError
from swiftprof.models.family import Family, read
from swiftprof.models.registry import ModelSource
from swiftprof.models.settings import LoadSettings

if TYPE_CHECKING:
    from swiftprof.models.loading import VLM

RERUN_CACHE = 1.25
"""Keys and values that a profile's re-runs hold, as a multiple of those of the vanilla run."""
_GIB = 2**30
_TEXT = 128
"""Tokens of a prompt beside the visual ones."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


@dataclass(frozen=True)
class Need:
    """Bytes of the weights, and of one prompt with one large image."""

    weights: int
    prompt: int

    @property
    def total(self) -> int:
        return self.weights + self.prompt


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
    weights = (linear * bits // 8 if bits else linear * size) + other * size
    return Need(weights, int(Prompt.of_config(config, family, size, new=0).vanilla))


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


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a smaller batch may work."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SIGNS)


def release_memory() -> None:
    """Give back what a failed batch held."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
            f"{_gib(need.weights)}, a prompt {_gib(need.prompt)}), {_gib(free)} are free; try "
            "`dtype` bfloat16, `load_in_4bit` or `device_map` auto; `ignore_memory` tries all the "
            "same"
        )


def _gib(number: int) -> str:
    return f"{number / _GIB:.1f} GiB"


MOST_SAMPLES = {"cpu": 32, "cuda": 32}
MOST_ROWS = {"cpu": 128, "cuda": 512}
"""More hardly helps: the more samples, the more re-runs are decoded in one step, but a CPU's cache
is full by then; on a GPU the weights, which one decoding step reads once for all rows, are by then
a small part of what it reads."""
USED = {"cpu": 0.5, "cuda": 0.8}
"""Share of the free memory that is planned with. A CPU does not fail softly: the system kills."""


@dataclass(frozen=True)
class BatchSize:
    """What runs together.

    Attributes:
        samples: prompts in a vanilla batch.
        rows: re-runs at once; 0 where there are none.
        needed: bytes that this takes beside the weights, as estimated.
        free: bytes that were free; None where that cannot be told.
    """

    samples: int
    rows: int
    needed: int
    free: int | None

    def __str__(self) -> str:
        free = "" if self.free is None else f" of {_gib(self.free)} that are free"
        rows = f" and {self.rows} re-runs" if self.rows else ""
        return (
            f"batch size: {self.samples} samples{rows} at once, about "
            f"{self.needed / _GIB:.2f} GiB{free}"
        )


@dataclass(frozen=True)
class Prompt:
    """One prompt of a model, as far as memory depends on it.

    Attributes:
        shape: the decoder.
        vocabulary: size of the output layer.
        visual, text: tokens.
        new: tokens that are generated.
        size: bytes of a number.
        vision: numbers that the vision tower holds for one visual token.
        eager: attention maps exist.
    """

    shape: DecoderShape
    vocabulary: int
    visual: int
    text: int
    new: int
    size: int
    vision: int = 0
    eager: bool = False

    @classmethod
    def of(cls, vlm: VLM, new: int, text: int = _TEXT) -> Prompt:
        """A prompt of a loaded model."""
        model = vlm.model
        return cls.of_config(model.config, vlm.family, model.dtype.itemsize, new, text)

    @classmethod
    def of_config(
        cls, config: Any, family: Family, size: int, new: int, text: int = _TEXT
    ) -> Prompt:
        """A prompt with one image, a large one where its number of tokens varies."""
        decoder = config.get_text_config()
        layers = read(config, "vision_config", "num_hidden_layers", default=0)
        width = read(config, "vision_config", "hidden_size", default=0)
        return cls(
            shape=DecoderShape.from_config(decoder),
            vocabulary=int(decoder.vocab_size),
            visual=family.image_tokens(config),
            text=text,
            new=new,
            size=size,
            vision=int(layers) * int(width),
            eager=getattr(config, "_attn_implementation", None) == "eager",
        )

    def running(self, tokens: float) -> float:
        """Bytes of one layer at work on some tokens, and of the logits behind it."""
        maps = 2 * self.shape.num_attention_heads * tokens**2 * 4 if self.eager else tokens**2
        inside = activation_bytes(self.shape, tokens, self.size)
        return inside + maps + logits_bytes(self.vocabulary)

    @property
    def kept(self) -> float:
        """Bytes that stay of a vanilla run: the cache, hidden states, scores."""
        tokens, layers = self.visual + self.text, self.shape.num_layers
        cache = cache_bytes(self.shape, layers, tokens + self.new, self.size)
        return cache + tokens * (self.shape.hidden_size * self.size + 4 * layers)

    @property
    def vanilla(self) -> float:
        """Most bytes while a vanilla run is going on."""
        tower = self.visual * self.vision * self.size
        return self.kept + max(tower, self.running(self.visual + self.text))

    def rerunning(self, keep: float) -> float:
        """Most bytes of a prompt's re-runs: their caches have a fixed room, see `RERUN_CACHE`."""
        tokens, layers = self.visual + self.text, self.shape.num_layers
        whole = cache_bytes(self.shape, layers, tokens + self.new, self.size)
        own = keep * self.visual + self.text
        first = min(BASE_LAYER, layers)
        row = cache_bytes(self.shape, first, tokens + self.new, self.size)
        row += cache_bytes(self.shape, layers - first, own + self.new, self.size)
        return self.kept + (RERUN_CACHE - 1) * whole + RERUN_CACHE * whole / row * self.running(own)


def answering(prompt: Prompt, device: str, free: int | None = None) -> BatchSize:
    """How many prompts are answered together.

    Args:
        device: as torch names it.
        free: bytes; measured where it is None.
    """
    kind, free, budget = _budget(device, free)
    samples = _between(budget / prompt.vanilla, MOST_SAMPLES[kind])
    return BatchSize(samples, 0, int(samples * prompt.vanilla), free)


def profiling(
    prompt: Prompt,
    device: str,
    *,
    keep: float,
    candidates: int,
    samples: int | None = None,
    free: int | None = None,
) -> BatchSize:
    """How many samples are profiled together; their re-runs get room by the vanilla run's cache.

    Args:
        keep: V.
        candidates: re-runs of a sample.
        samples: where their number is given.
    """
    kind, free, budget = _budget(device, free)
    each = max(prompt.vanilla, prompt.rerunning(keep))
    samples = samples or _between(budget / each, MOST_SAMPLES[kind])
    rows = min(MOST_ROWS[kind], samples * candidates)
    return BatchSize(samples, rows, int(samples * each), free)


def most_rows(device: str) -> int:
    """Re-runs at once at most."""
    return MOST_ROWS[_kind(device)]


def _kind(device: str) -> str:
    return "cuda" if device.startswith("cuda") else "cpu"


def _budget(device: str, free: int | None) -> tuple[str, int | None, float]:
    kind = _kind(device)
    free = free_memory(device) if free is None else free
    return kind, free, float("inf") if free is None else free * USED[kind]


def _between(number: float, most: int) -> int:
    return int(min(max(number, 1), most))
