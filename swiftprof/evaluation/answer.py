"""The loop that all comparisons share: several variants of one model answer the same samples.

Batch by batch in turn, so that times are comparable on a machine whose speed drifts, and scores are
paired. A sample that fails with one variant is kept for the others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from swiftprof.costs.flops import vanilla_flops
from swiftprof.data.asking import Skipped, ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.models.loading import VLM
from swiftprof.models.memory import out_of_memory, release_memory
from swiftprof.planning.plan_file import Plan
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

VANILLA = "vanilla"
T = TypeVar("T")
HELD_BYTES = 1 << 28
"""Images that are in memory at a time."""

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""
Variants = Mapping[str, Plan | None]
"""Name -> plan; None is the unpruned model."""
Failed = dict[str, list[Skipped]]
"""Name -> samples that the variant could not answer."""


@dataclass(frozen=True)
class Answer:
    """What one variant said to one sample, and what it cost.

    Attributes:
        place: number of the sample in the draw.
        retained: visual tokens that were really there, averaged over layers.
        tflops: of the prefill (paper eq. 17-19), from the counts that were there.
        seconds: wall time of the batch's ``generate`` call, per sample.
    """

    variant: str
    place: int
    id: str
    kind: str
    group: str
    question: str
    answers: tuple[str, ...]
    prediction: str
    score: float
    n_visual: int
    text_tokens: int
    retained: float
    tflops: float
    seconds: float


def answer_samples(
    vlm: VLM,
    dataset: Dataset,
    split: str,
    indices: Sequence[int],
    variants: Variants,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
    places: Mapping[int, int] | None = None,
) -> tuple[list[Answer], Failed]:
    """Greedy answers of every variant on the samples ``indices`` of a split.

    Args:
        variants: see `Variants`.
        batch_size: samples that run together; halved where memory runs out.
        progress: called after every batch.
        places: place of each index in the whole draw; by default they are the draw.

    Returns:
        Answers by variant and, within it, in the order drawn; and the samples that each variant
        could not answer, those that are broken among them.
    """
    answers: list[Answer] = []
    failed: Failed = {name: [] for name in variants}
    places = places or {index: n for n, index in enumerate(indices)}
    done = 0
    left = list(indices)
    while left:
        samples, broken = ask_all(dataset, split, left, vlm, HELD_BYTES)
        here, left = _split(left, len(samples) + len(broken))
        for lost in failed.values():
            lost += broken
        done += len(broken)
        bad = {each.index for each in broken}
        pairs = list(zip((i for i in here if i not in bad), samples, strict=True))
        pairs.sort(key=lambda pair: len(pair[1].question))  # less padding
        while pairs:
            batch, after = _split(pairs, batch_size)
            try:
                found, lost_here = _answer(vlm, dataset, batch, places, variants)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                batch_size = len(batch) // 2
                release_memory()
                continue
            pairs = after
            answers += found
            for name, each in lost_here.items():
                failed[name] += each
            done += len(batch)
            if progress:
                progress(done, len(indices))
    order = {name: n for n, name in enumerate(variants)}
    answers.sort(key=lambda a: (order[a.variant], a.place))
    return answers, failed


def common(answers: Sequence[Answer], variants: Collection[str]) -> list[Answer]:
    """Answers to the samples that every variant answered."""
    count = Counter(each.place for each in answers)
    return [each for each in answers if count[each.place] == len(variants)]


def _answer(
    vlm: VLM,
    dataset: Dataset,
    batch: list[tuple[int, Sample]],
    places: Mapping[int, int],
    variants: Variants,
) -> tuple[list[Answer], Failed]:
    """All variants on one batch; one that fails gets one sample at a time.

    Raises:
        Exception: out of memory with more than one sample.
    """
    samples, numbers = [sample for _, sample in batch], [places[index] for index, _ in batch]
    answers: list[Answer] = []
    failed: Failed = {}
    inputs: dict[str, Any] | None = None
    for name, plan in variants.items():
        try:
            if inputs is None:
                inputs = vlm.inputs([s.images for s in samples], [s.question for s in samples])
            answers += _run(vlm, dataset, samples, numbers, inputs, name, plan)
        except Exception as error:  # whatever a model, a method or a broken sample may raise
            if len(batch) == 1:
                text = " ".join(str(error).split())
                failed[name] = [Skipped(batch[0][0], f"{type(error).__name__}: {text}")]
                continue
            if out_of_memory(error):
                raise
            for one in batch:
                found, lost = _answer(vlm, dataset, [one], places, {name: plan})
                answers += found
                failed.setdefault(name, []).extend(lost.get(name, []))
    return answers, failed


def _split(items: list[T], size: int) -> tuple[list[T], list[T]]:
    return items[:size], items[size:]


def _run(
    vlm: VLM,
    dataset: Dataset,
    batch: Sequence[Sample],
    places: Sequence[int],
    inputs: dict[str, Any],
    name: str,
    plan: Plan | None,
) -> list[Answer]:
    trace = Trace()
    context: Any = nullcontext() if plan is None else prune(vlm.model, plan, on_stage=trace)
    with torch.inference_mode(), context:
        began = _now(vlm)
        ids = vlm.model.generate(  # type: ignore[operator]
            **inputs, do_sample=False, num_beams=1, max_new_tokens=dataset.max_new_tokens
        )
        seconds = (_now(vlm) - began) / len(batch)
    prompt = inputs["input_ids"].shape[1]
    visual = (inputs["input_ids"] == vlm.image_token_id).sum(1).tolist()
    total = inputs["attention_mask"].sum(1).tolist()
    answers = []
    for row, (sample, said) in enumerate(zip(batch, vlm.decode(ids[:, prompt:]), strict=True)):
        text = total[row] - visual[row]
        retained, flops = spent(vlm, plan, trace, row, visual[row], text)
        answers.append(
            Answer(
                variant=name,
                place=places[row],
                id=sample.id,
                kind=sample.kind,
                group=sample.group,
                question=sample.question,
                answers=sample.answers,
                prediction=said,
                score=dataset.score(said, sample),
                n_visual=visual[row],
                text_tokens=text,
                retained=retained,
                tflops=flops / 1e12,
                seconds=seconds,
            )
        )
    return answers


def spent(
    vlm: VLM, plan: Plan | None, trace: Trace, row: int, visual: int, text: int
) -> tuple[float, float]:
    """What one prompt of a batch cost: retained visual tokens, and FLOPs of the prefill.

    Args:
        row: its place in the batch.
        visual, text: its visual tokens, and the others.
    """
    shape = vlm.decoder_shape
    if plan is None or not plan.stages or not trace.prefills or not visual:
        return float(visual), vanilla_flops(shape, visual, text)
    return trace.prefills[0].retained(row, vlm.num_layers), plan.flops(shape, visual, text)


def _now(vlm: VLM) -> float:
    if vlm.model.device.type == "cuda":
        torch.cuda.synchronize(vlm.model.device)
    return time.perf_counter()
