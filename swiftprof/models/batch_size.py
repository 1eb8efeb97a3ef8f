"""``--batch-size auto``: how many samples and re-runs run together, from the memory that is free.

The estimate is made of sizes alone. One that is too high is found out by running out of memory,
and whoever runs the batches then makes them smaller. No result depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftprof.core.stages import BASE_LAYER
from swiftprof.costs.flops import DecoderShape
from swiftprof.models.family import read
from swiftprof.models.loading import VLM
from swiftprof.models.memory import (
    RERUN_CACHE,
    activation_bytes,
    cache_bytes,
    free_memory,
    logits_bytes,
)

MOST_SAMPLES = {"cpu": 32, "cuda": 32}
MOST_ROWS = {"cpu": 128, "cuda": 512}
"""More hardly helps: the more samples, the more re-runs are decoded in one step, but a CPU's cache
is full by then; on a GPU the weights, which one decoding step reads once for all rows, are by then
a small part of what it reads."""
USED = {"cpu": 0.5, "cuda": 0.8}
"""Share of the free memory that is planned with. A CPU does not fail softly: the system kills."""
_GIB = 2**30


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
        free = "" if self.free is None else f" of {self.free / _GIB:.1f} GiB that are free"
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
    def of(cls, vlm: VLM, new: int, text: int = 128) -> Prompt:
        """A prompt with one image, a large one where its number of tokens varies."""
        config: Any = vlm.model.config
        layers = read(config, "vision_config", "num_hidden_layers", default=0)
        width = read(config, "vision_config", "hidden_size", default=0)
        return cls(
            shape=vlm.decoder_shape,
            vocabulary=int(config.get_text_config().vocab_size),
            visual=vlm.visual_tokens or vlm.family.image_tokens(config),
            text=text,
            new=new,
            size=vlm.model.dtype.itemsize,
            vision=int(layers) * int(width),
            eager=config._attn_implementation == "eager",
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
