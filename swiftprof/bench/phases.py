"""One `generate()` call, taken apart by the clock: vision, prefill, pruning, decoding.

Hooks on the text model note when it begins and ends; its first call is the prefill, the others are
decoding steps. Nothing of the model's own code is replaced, so what is timed is what users run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from swiftprof.bench.clock import Clock
from swiftprof.bench.memory import peak_bytes
from swiftprof.runtime.decoder import Decoder, locate
from swiftprof.runtime.prune import prune
from swiftprof.runtime.schedule import PlanLike

PHASES = ("vision", "prefill", "restore", "score", "select", "decode", "end_to_end")
"""Names of `Phases.seconds`, in order."""


@dataclass
class Phases:
    """What one call took.

    Attributes:
        seconds: by phase. `vision` is everything before the decoder: tower, projector, embedding.
            `prefill` is the decoder's pass over the prompt; `restore`, `score` and `select`
            (merging included) are parts of it. `decode` is one further token, from the end of one
            pass to the end of the next. `end_to_end` is the whole call.
        kv_bytes: keys and values of the prompt, over all layers.
        kv_tokens: prompt tokens in the cache of each layer.
    """

    seconds: dict[str, float]
    kv_bytes: int
    kv_tokens: list[int]


@dataclass
class _Marks:
    begins: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)


@torch.inference_mode()
def run_phases(
    model: nn.Module, inputs: dict[str, Any], plan: PlanLike | None, new_tokens: int, clock: Clock
) -> Phases:
    """Generate exactly `new_tokens` tokens greedily, pruned by a plan or (None) not at all.

    On a GPU reading the clock inside makes the host wait, so the whole call is timed by a second
    run without any reading in between, and pruning work by a third that only prefills.
    """
    spans: dict[str, float] = {}
    marks, began, ended, cache = _run(model, inputs, plan, new_tokens, clock, spans)
    seconds = {
        "vision": marks.begins[0] - began,
        "prefill": marks.ends[0] - marks.begins[0],
        "end_to_end": ended - began,
    }
    if new_tokens > 1:
        seconds["decode"] = float(np.median(np.diff(marks.ends)))
    if clock.device.type == "cuda":
        spans = {}
        _run(model, inputs, plan, 1, clock, spans)
        _, began, ended, _ = _run(model, inputs, plan, new_tokens, clock, None)
        seconds["end_to_end"] = ended - began
    for name in ("restore", "score", "select"):
        seconds[name] = spans.get(name, 0.0)
    tokens = [layer.keys.shape[-2] - (new_tokens - 1) for layer in cache.layers]
    kv_bytes = sum(
        (layer.keys.nbytes + layer.values.nbytes) // layer.keys.shape[-2] * n
        for layer, n in zip(cache.layers, tokens, strict=True)
    )
    return Phases(seconds, kv_bytes, tokens)


@torch.inference_mode()
def generate_peak(
    model: nn.Module, inputs: dict[str, Any], plan: PlanLike | None, new_tokens: int, clock: Clock
) -> int:
    """Peak memory of the same call, above the weights and inputs (see `peak_bytes`)."""
    return peak_bytes(clock.device, lambda: _run(model, inputs, plan, new_tokens, clock, None))


def _run(
    model: nn.Module,
    inputs: dict[str, Any],
    plan: PlanLike | None,
    new_tokens: int,
    clock: Clock,
    spans: dict[str, float] | None,
) -> tuple[_Marks, float, float, Any]:
    """One call; with `spans` the clock is read inside as well."""
    pruning = None
    if plan is not None:
        timed = None if spans is None else partial(clock.span, spans)
        pruning = prune(model, plan, on_span=timed).attach()
    try:
        with _marks(locate(model), None if spans is None else clock) as marks:
            began = clock.now()
            out = model.generate(  # type: ignore[operator]
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                return_dict_in_generate=True,
            )
            ended = clock.now()
    finally:
        if pruning is not None:
            pruning.detach()
    return marks, began, ended, out.past_key_values


@contextmanager
def _marks(decoder: Decoder, clock: Clock | None) -> Iterator[_Marks]:
    marks = _Marks()
    if clock is None:
        yield marks
        return
    handles = [
        decoder.text.register_forward_pre_hook(lambda *_: marks.begins.append(clock.now())),
        decoder.text.register_forward_hook(lambda *_: marks.ends.append(clock.now())),
    ]
    try:
        yield marks
    finally:
        for handle in handles:
            handle.remove()
