"""Run several variants of one model (vanilla, plans) on the same samples, batch by batch in turn.

Taking turns makes the times comparable on a machine whose speed drifts, and the scores paired.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from swiftprof.data.asking import Skipped, ask_all
from swiftprof.data.base import Dataset, Sample, Scored
from swiftprof.errors import SwiftprofError
from swiftprof.measure.flops import DecoderShape, plan_flops, vanilla_flops
from swiftprof.methods import method_class
from swiftprof.models.loading import VLM
from swiftprof.planning.plan_file import Plan
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

VANILLA = "vanilla"
HELD = 512
"""Samples whose images are in memory at a time."""

Progress = Callable[[int, int], None]


@dataclass
class Outcome:
    """What one variant did on one data set. Lists run over the samples, in the order drawn.

    Attributes:
        split: the split that the samples are from.
        protocol: how the score came about, in one line.
        source: where the samples came from, with the revision.
        metrics: metrics of the whole set, beside the mean score.
        skipped: samples that could not be used, the same for every variant.
        retained: per sample the retained tokens N that were really there (mean over layers).
        tflops: per sample the prefill's TFLOPs (paper eq. 17-19) from the counts that were there.
        seconds: wall time of all ``generate`` calls.
    """

    variant: str
    dataset: str
    ids: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    predictions: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    retained: list[float] = field(default_factory=list)
    tflops: list[float] = field(default_factory=list)
    seconds: float = 0.0
    split: str = ""
    protocol: str = ""
    source: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    answers: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def score(self) -> float:
        return sum(self.scores) / len(self.scores)

    def score_by_kind(self) -> dict[str, float]:
        """Mean score of each kind of question; empty where the set has no kinds."""
        if not any(self.kinds):
            return {}
        groups: dict[str, list[float]] = {}
        for kind, score in zip(self.kinds, self.scores, strict=True):
            groups.setdefault(kind, []).append(score)
        return {k: sum(v) / len(v) for k, v in sorted(groups.items())}

    def summary(self) -> dict[str, Any]:
        n = len(self.scores)
        return {
            "variant": self.variant,
            "dataset": self.dataset,
            "samples": n,
            "score": self.score,
            "score_by_kind": self.score_by_kind(),
            "metrics": self.metrics,
            "split": self.split,
            "protocol": self.protocol,
            "source": self.source,
            "skipped": [vars(s) for s in self.skipped],
            "retained_tokens": sum(self.retained) / n,
            "tflops": sum(self.tflops) / n,
            "seconds": self.seconds,
        }


def compare(
    vlm: VLM,
    dataset: Dataset,
    indices: Sequence[int],
    variants: Mapping[str, Plan | None],
    *,
    split: str = "test",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Greedy answers of every variant on the samples ``indices`` of a split.

    Args:
        variants: name → plan; None is the vanilla model.

    Raises:
        SwiftprofError: a plan does not fit the model, or every sample is broken.
    """
    protocol, source = dataset.protocol(vlm.conventions), dataset.source(split)
    out = {name: Outcome(name, dataset.name, split=split) for name in variants}
    shape = vlm.decoder_shape
    skipped: list[Skipped] = []
    order: list[int] = []  # places of the samples in the draw, as they are run
    for held in range(0, len(indices), HELD):
        samples, broken = ask_all(dataset, split, indices[held : held + HELD], vlm)
        skipped += broken
        base = len(order)
        here = sorted(range(len(samples)), key=lambda i: len(samples[i].question))  # less padding
        order += [base + i for i in here]
        for start in range(0, len(here), batch_size):
            batch = [samples[i] for i in here[start : start + batch_size]]
            inputs = vlm.inputs([s.image for s in batch], [s.question for s in batch])
            for name, plan in variants.items():
                _run(vlm, dataset, batch, inputs, plan, shape, out[name])
            if progress:
                progress(base + start + len(batch) + len(skipped), len(indices))
    if not order:
        raise SwiftprofError(
            f"data set {dataset.name}: none of {len(skipped)} samples can be used; "
            f"the first: {skipped[0].reason}"
        )
    place = sorted(range(len(order)), key=order.__getitem__)  # back to the order drawn
    for outcome in out.values():
        for lists in _PER_SAMPLE:
            values = getattr(outcome, lists)
            setattr(outcome, lists, [values[p] for p in place])
        outcome.protocol, outcome.source, outcome.skipped = protocol, source, skipped
        outcome.metrics = dataset.metrics(
            [Scored(*each) for each in zip(*(getattr(outcome, n) for n in _SCORED), strict=True)]
        )
    return out


_SCORED = ("kinds", "groups", "answers", "predictions", "scores")
_PER_SAMPLE = ("ids", "retained", "tflops", *_SCORED)


def _run(
    vlm: VLM,
    dataset: Dataset,
    batch: list[Sample],
    inputs: dict[str, Any],
    plan: Plan | None,
    shape: DecoderShape,
    outcome: Outcome,
) -> None:
    trace = Trace()
    context: Any = nullcontext() if plan is None else prune(vlm.model, plan, on_stage=trace)
    with torch.inference_mode(), context:
        began = _now(vlm)
        ids = vlm.model.generate(  # type: ignore[operator]
            **inputs, do_sample=False, num_beams=1, max_new_tokens=dataset.max_new_tokens
        )
        outcome.seconds += _now(vlm) - began
    prompt = inputs["input_ids"].shape[1]
    visual = (inputs["input_ids"] == vlm.image_token_id).sum(1).tolist()
    total = inputs["attention_mask"].sum(1).tolist()
    answers = vlm.decode(ids[:, prompt:])
    for row, (sample, answer) in enumerate(zip(batch, answers, strict=True)):
        outcome.ids.append(sample.id)
        outcome.kinds.append(sample.kind)
        outcome.groups.append(sample.group)
        outcome.answers.append(sample.answers)
        outcome.predictions.append(answer)
        outcome.scores.append(dataset.score(answer, sample))
        text = total[row] - visual[row]
        if plan is None:
            outcome.retained.append(float(visual[row]))
            outcome.tflops.append(vanilla_flops(shape, visual[row], text) / 1e12)
        else:
            real = trace.prefills[0].retained(row, vlm.num_layers)
            bypass = method_class(plan.method).bypass
            flops = plan_flops(shape, plan.stages, visual[row], text, bypass=bypass)
            outcome.retained.append(real)
            outcome.tflops.append(flops / 1e12)


def _now(vlm: VLM) -> float:
    if vlm.model.device.type == "cuda":
        torch.cuda.synchronize(vlm.model.device)
    return time.perf_counter()
