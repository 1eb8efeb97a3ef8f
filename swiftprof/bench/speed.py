"""Variants of one model against each other on the clock, in turns: the paper's Table 2.

Every repeat runs all variants one after the other, starting with another one each time, so a
machine whose speed drifts is as slow for each of them; ratios are taken inside a repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from swiftprof.bench.clock import Clock, paired_ratio, summary
from swiftprof.bench.phases import (
    PHASES,
    Phases,
    compiled_copy,
    generate_peak,
    run_compiled,
    run_phases,
)
from swiftprof.bench.random_model import Benched
from swiftprof.costs.flops import vanilla_flops
from swiftprof.models.memory import out_of_memory, release_memory
from swiftprof.planning.plan_file import Plan

VANILLA = "vanilla"

Progress = Callable[[int, int], None]
_Made = TypeVar("_Made")


@dataclass
class Measured:
    """One variant at one batch size.

    Attributes:
        name: variant.
        plan: its plan; None is vanilla.
        batch: prompts in a batch.
        runs: one per repeat.
        peak: bytes above weights and inputs, from a run that is not timed.
        failed: why there are no runs (out of memory), or None.
    """

    name: str
    plan: Plan | None
    batch: int
    runs: list[Phases] = field(default_factory=list)
    peak: int | None = None
    failed: str | None = None

    def times(self, phase: str) -> list[float]:
        """Seconds of a phase, one per repeat."""
        return [run.seconds[phase] for run in self.runs]

    def row(self, base: Measured, subject: Benched) -> dict[str, Any]:
        """The figures of this variant beside vanilla's."""
        visual, text = subject.visual_tokens, subject.text_tokens
        vanilla, plan = vanilla_flops(subject.shape, visual, text) / 1e12, self.plan
        row: dict[str, Any] = {
            "variant": self.name,
            "method": VANILLA if plan is None else plan.method,
            "retain": float(visual) if plan is None else plan.retained(visual),
            "batch": self.batch,
            "tflops": vanilla if plan is None else plan.flops(subject.shape, visual, text) / 1e12,
        }
        if plan is not None:
            row["layers"] = list(plan.pruning_layers)
        if self.failed:
            return {**row, "failed": self.failed}
        have = [name for name in PHASES if name in self.runs[0].seconds]
        row["seconds"] = {name: summary(self.times(name)) for name in have}
        row["peak_bytes"] = self.peak
        row["kv_bytes"] = self.runs[-1].kv_bytes
        row["kv_tokens"] = self.runs[-1].kv_tokens
        if base.runs:
            row["speedup"] = {
                name: paired_ratio(base.times(name), self.times(name))
                for name in ("prefill", "decode", "end_to_end")
                if name in have
            }
            row["flops_ratio"] = vanilla / row["tflops"]
            row["efficiency"] = row["speedup"]["prefill"] / row["flops_ratio"]
            row["kv_ratio"] = base.runs[-1].kv_bytes / row["kv_bytes"]
        return row


def compare_speed(
    subject: Benched,
    variants: Mapping[str, Plan],
    batches: Sequence[int],
    *,
    new_tokens: int = 8,
    repeats: int = 5,
    warmup: int = 1,
    compiled: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Time vanilla and every variant; one row for each variant and batch size.

    Args:
        variants: name -> plan; vanilla is always there, first.
        batches: batch sizes. One that does not fit into memory fails with a row that says so.
        new_tokens: tokens generated; decoding is timed from the second on.
        repeats, warmup: rounds that count, and rounds before them that do not.
        compiled: all of them, vanilla too, decode compiled on static caches; the first round
            compiles. Peaks are still those of growing caches.
    """
    clock = Clock(next(subject.model.parameters()).device)
    rows: list[dict[str, Any]] = []
    total, done = len(batches) * (1 + len(variants)) * (repeats + warmup), 0
    for batch in batches:
        inputs = subject.inputs(batch)
        plans: dict[str, Plan | None] = {VANILLA: None, **variants}
        measured = [Measured(name, plan, batch) for name, plan in plans.items()]
        for each in measured:
            call = (subject.model, inputs, each.plan, new_tokens, clock)
            each.peak = _attempt(each, partial(generate_peak, *call))
        with ExitStack() as copies:
            runs = {}
            for each in measured:
                if compiled:
                    spans: dict[str, float] = {}
                    model = copies.enter_context(
                        compiled_copy(subject.model, each.plan, clock, spans)
                    )
                    runs[each.name] = partial(run_compiled, model, inputs, new_tokens, clock, spans)
                else:
                    call = (subject.model, inputs, each.plan, new_tokens, clock)
                    runs[each.name] = partial(run_phases, *call)
            for turn in range(warmup + repeats):
                first = turn % len(measured)
                for each in [*measured[first:], *measured[:first]]:
                    run = _attempt(each, runs[each.name])
                    if run is not None and turn >= warmup:
                        each.runs.append(run)
                    done += 1
                    if progress is not None:
                        progress(done, total)
        rows += [each.row(measured[0], subject) for each in measured]
    return rows


def _attempt(each: Measured, work: Callable[[], _Made]) -> _Made | None:
    """Do a variant's work, unless it did not fit into memory before."""
    if each.failed is not None:
        return None
    try:
        return work()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        each.failed, each.runs = "out of memory", []
        release_memory()
        return None
