"""What a profile will cost, from sizes alone: the work, the traffic of decoding, the time of both.

Nothing here is measured. Prompts run as fast as a device multiplies; decoding runs as fast as it
reads, for every step reads the weights once and every row's cache. So the time is FLOPs over an
assumed speed plus bytes over an assumed bandwidth. A multiply-add counts as two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swiftprof.core.counts import kept_count
from swiftprof.measure.flops import layer_flops, vanilla_flops
from swiftprof.measure.shapes import KnownModel
from swiftprof.models.batch_size import MOST_ROWS, Prompt
from swiftprof.models.memory import cache_bytes
from swiftprof.planning.curve import BASE_LAYER

__all__ = ["Cost", "Part", "profile_cost"]


@dataclass(frozen=True)
class Part:
    """One data set: its samples, and the longest answer (0 where nothing is decoded)."""

    name: str
    samples: int
    new_tokens: int


@dataclass(frozen=True)
class Cost:
    """The whole job.

    Attributes:
        samples, reruns: how many; equal selections are not known before and count each.
        prompt_flops: vision tower, vanilla prompts, the prompts of the re-runs.
        decode_flops, decode_bytes: of all answers, each as long as it may be.
        weight_bytes: of the decoder, output layer and vision tower.
        sample_bytes: memory of one sample, vanilla run or re-runs.
    """

    samples: int
    reruns: int
    prompt_flops: float
    decode_flops: float
    decode_bytes: float
    weight_bytes: float
    sample_bytes: float

    def seconds(self, tflops: float, terabytes: float, devices: int = 1) -> float:
        """Time on some devices, each with this many TFLOP/s and TB/s; loading not included."""
        compute = self.prompt_flops / (tflops * 1e12)
        return (compute + self.decode_bytes / (terabytes * 1e12)) / devices


def profile_cost(
    known: KnownModel,
    visual: int,
    parts: Sequence[Part],
    *,
    keep: float = 0.2,
    size: int = 2,
    text: float | None = None,
) -> Cost:
    """Cost of profiling a model on some data sets, with every layer from 2 on as a candidate.

    Args:
        visual: n_v.
        keep: V.
        size: bytes of a number.
        text: other tokens of a prompt; by default what is usual for the model.
    """
    shape = known.shape
    text = known.text_tokens if text is None else text
    candidates = shape.num_layers - BASE_LAYER + 1
    head = shape.hidden_size * known.vocabulary
    own = text / 2 + kept_count(keep, visual)  # about half of the text stands before the image
    rerun = (shape.num_layers - BASE_LAYER) * layer_flops(shape, own) + head
    vanilla = vanilla_flops(shape, visual, text) + head + visual * known.vision_parameters
    token = vanilla_flops(shape, 0, 1) + head
    per_sample = vanilla + candidates * rerun
    samples = sum(part.samples for part in parts)
    answers = sum(part.samples * part.new_tokens for part in parts)
    weights = (vanilla_flops(shape, 0, 1) + head) * size
    prompt = Prompt(shape, known.vocabulary, visual, int(text), 0, size)
    rows = cache_bytes(shape, BASE_LAYER, visual + text, size)
    rows += cache_bytes(shape, shape.num_layers - BASE_LAYER, own + text / 2, size)
    whole = cache_bytes(shape, shape.num_layers, visual + text, size)
    step = candidates * rows + whole + weights * (candidates / MOST_ROWS["cuda"])
    return Cost(
        samples=samples,
        reruns=samples * candidates,
        prompt_flops=2 * samples * per_sample,
        decode_flops=2 * answers * (1 + candidates) * token,
        decode_bytes=answers * step,
        weight_bytes=weights + (head + known.vision_parameters) * size,
        sample_bytes=max(prompt.vanilla, prompt.rerunning(keep)),
    )
