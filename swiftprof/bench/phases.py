"""One `generate()` call, taken apart by the clock: vision, prefill, pruning, decoding.

Hooks on the text model note when it begins and ends; its first call is the prefill, the others are
decoding steps. Nothing of the model's own code is replaced, so what is timed is what users run.
Compiled steps cannot read a clock; there `generate()` tells when it has a token.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
    return _phases(seconds, cache, new_tokens)


@contextmanager
def compiled_copy(
    model: nn.Module, plan: PlanLike | None, clock: Clock, spans: dict[str, float]
) -> Iterator[nn.Module]:
    """A model on the same weights, pruned all the while: what is compiled of it is so only once.

    Args:
        model: stays as it is.
        plan: None does not prune.
        clock: for pruning work.
        spans: takes the time of that.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    made = copy.deepcopy(model, shared)
    timed = partial(clock.span, spans)
    with nullcontext() if plan is None else prune(made, plan, on_span=timed):
        yield made


@torch.inference_mode()
def run_compiled(
    model: nn.Module,
    inputs: dict[str, Any],
    new_tokens: int,
    clock: Clock,
    spans: dict[str, float],
) -> Phases:
    """The same on static caches with compiled decoding, of a model out of `compiled_copy`."""
    spans.clear()
    options = _compiling(model)
    with _marks(locate(model), clock) as marks:  # only the prefill, which is never compiled
        began = clock.worked()
        _generate(model, inputs, 1, options)
    seconds = {
        "vision": marks.begins[0] - began,
        "prefill": marks.ends[0] - marks.begins[0],
        **{name: spans.get(name, 0.0) for name in ("restore", "score", "select")},
    }
    times: list[float] = []

    def has_a_token(ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        times.append(clock.worked())
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    began = clock.worked()
    out = _generate(model, inputs, new_tokens, {**options, "stopping_criteria": [has_a_token]})
    seconds["end_to_end"] = clock.worked() - began
    if new_tokens > 1:
        seconds["decode"] = float(np.median(np.diff(times)))
    return _phases(seconds, out.past_key_values, new_tokens)


def _compiling(model: Any) -> dict[str, Any]:
    """Settings of `generate()`; its own default compiles on a GPU only."""
    from transformers import CompileConfig

    config: Any = CompileConfig(fullgraph="flash" not in str(model.config._attn_implementation))
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}


def _phases(seconds: dict[str, float], cache: Any, new_tokens: int) -> Phases:
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
            began = clock.worked()
            out = _generate(model, inputs, new_tokens, {})
            ended = clock.worked()
    finally:
        if pruning is not None:
            pruning.detach()
    return marks, began, ended, out.past_key_values


def _generate(model: Any, inputs: dict[str, Any], new_tokens: int, options: dict[str, Any]) -> Any:
    return model.generate(
        **inputs,
        do_sample=False,
        num_beams=1,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        return_dict_in_generate=True,
        **options,
    )


@contextmanager
def _marks(decoder: Decoder, clock: Clock | None) -> Iterator[_Marks]:
    marks = _Marks()
    if clock is None:
        yield marks
        return
    handles = [
        decoder.text.register_forward_pre_hook(lambda *_: marks.begins.append(clock.worked())),
        decoder.text.register_forward_hook(lambda *_: marks.ends.append(clock.worked())),
    ]
    try:
        yield marks
    finally:
        for handle in handles:
            handle.remove()
