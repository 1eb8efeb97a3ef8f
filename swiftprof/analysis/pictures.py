"""Which patches are left after each stage, and what is answered from them (paper Fig. 3 and 6)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.budget import budget_text
from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.data.asking import ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.data.drawing import draw
from swiftprof.data.scoring.boxes import parse_box
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA, Answer, Progress, answer_samples, check_plans
from swiftprof.models.loading import VLM
from swiftprof.planning.plan_file import Plan
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

PICKS = ("disagree", "first", "wrong")
"""Samples to show: methods differ in score; simply the first; the reference method is wrong."""
LARGEST = 448
"""Pixels of a stored picture's longer side."""


class Kept(BaseModel):
    """After one stage: visual tokens, numbered in reading order, and where merged ones stand."""

    model_config = ConfigDict(frozen=True)

    title: str
    kept: list[int]
    merged: list[int] = []


class Method(BaseModel):
    """One method's answer to one sample."""

    model_config = ConfigDict(frozen=True)

    label: str
    prediction: str
    score: float
    retained: float
    stages: list[Kept]
    box: tuple[float, float, float, float] | None = None


class Picture(BaseModel):
    """One sample.

    Attributes:
        image: a PNG as base64.
        grid: rows and columns of visual tokens; None where they form no grid.
        box: the reference box as fractions of the shown image, for questions that ask for one.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    dataset: str
    question: str
    answers: list[str]
    image: str
    grid: tuple[int, int] | None
    box: tuple[float, float, float, float] | None
    methods: list[Method]


class Data(BaseModel):
    """What was measured.

    Attributes:
        pick: the rule that chose samples, one of `PICKS`.
        right: label -> data set -> score over all the samples that were looked at.
        disagreed: samples of those looked at on which methods differ in score.
        wins, losses: label -> samples where the reference scores higher than it, or lower.
    """

    model_config = ConfigDict(frozen=True)

    pick: str
    retain: str
    reference: str
    datasets: dict[str, int]
    scores: dict[str, dict[str, float]]
    disagreed: int
    wins: dict[str, int]
    losses: dict[str, int]
    pictures: list[Picture]
    skipped: dict[str, int] = {}


def measure(
    vlm: VLM,
    datasets: Sequence[Dataset],
    plans: Mapping[str, Plan],
    reference: str,
    *,
    samples: int,
    show: int = 6,
    pick: str = "disagree",
    seed: int = 0,
    split: str | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Data:
    """Answer samples with every method, choose some by a rule, and trace those.

    Args:
        plans: label -> plan; the unpruned model is added.
        reference: the label that others are compared with.
        samples: of each set that are looked at.
        show: pictures in all, spread over the data sets.
        pick: one of `PICKS`.

    Raises:
        SwiftprofError: no sample can be used.
    """
    variants: dict[str, Plan | None] = {VANILLA: None, **plans}
    check_plans(vlm, variants)
    chosen: list[tuple[Dataset, str, int]] = []
    answers: dict[str, list[Answer]] = {}
    sizes: dict[str, int] = {}
    broken: dict[str, int] = {}
    before = 0
    for number, dataset in enumerate(datasets):
        where = split or dataset.eval_split
        indices = draw(dataset, where, samples, seed, at_most=True)

        def report(done: int, _: int, before: int = before) -> None:
            if progress:
                progress(before + done, samples * len(datasets))

        found, skipped = answer_samples(
            vlm, dataset, where, indices, variants, batch_size=batch_size or 16, progress=report
        )
        if not found:
            raise SwiftprofError(
                f"data set {dataset.name}: none of {len(indices)} samples can be used; "
                f"the first: {skipped[0].reason}"
            )
        before += samples
        answers[dataset.name] = found
        sizes[dataset.name] = len(indices) - len(skipped)
        if skipped:
            broken[dataset.name] = len(skipped)
        share = show // len(datasets) + (number < show % len(datasets))
        places = _choose(found, pick, reference)[:share]
        chosen += [(dataset, where, indices[place]) for place in places]
    every = [a for found in answers.values() for a in found]
    wins, losses = _tally(every, reference)
    return Data(
        pick=pick,
        retain=budget_text(plans[reference]),
        reference=reference,
        datasets=sizes,
        scores={
            label: {
                name: _mean([a.score for a in found if a.variant == label])
                for name, found in answers.items()
            }
            for label in variants
        },
        disagreed=sum(len(_choose(found, "disagree", reference)) for found in answers.values()),
        wins=wins,
        losses=losses,
        pictures=[_picture(vlm, *one, variants) for one in chosen],
        skipped=broken,
    )


def _choose(found: Sequence[Answer], pick: str, reference: str) -> list[int]:
    """Places of samples that a rule picks, in the order drawn; pruned methods alone count."""
    scores: dict[int, dict[str, float]] = {}
    for each in found:
        scores.setdefault(each.place, {})[each.variant] = each.score
    places = sorted(scores)
    if pick == "first":
        return places
    if pick == "wrong":
        return [p for p in places if scores[p][reference] < scores[p][VANILLA]]
    return [p for p in places if len({s for v, s in scores[p].items() if v != VANILLA}) > 1]


def _tally(every: Sequence[Answer], reference: str) -> tuple[dict[str, int], dict[str, int]]:
    mine = {(a.id, a.question, a.place): a.score for a in every if a.variant == reference}
    wins: dict[str, int] = {}
    losses: dict[str, int] = {}
    for a in every:
        if a.variant == reference:
            continue
        gain = mine[a.id, a.question, a.place] - a.score
        wins[a.variant] = wins.get(a.variant, 0) + (gain > 0)
        losses[a.variant] = losses.get(a.variant, 0) + (gain < 0)
    return wins, losses


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6)


@torch.inference_mode()
def _picture(
    vlm: VLM, dataset: Dataset, split: str, index: int, variants: Mapping[str, Plan | None]
) -> Picture:
    (sample,), _ = ask_all(dataset, split, [index], vlm)
    inputs = vlm.inputs([sample.images], [sample.question])
    n_visual = int((inputs["input_ids"] == vlm.image_token_id).sum())
    methods = []
    for label, plan in variants.items():
        trace = Trace()
        prompt = inputs["input_ids"].shape[1]
        options: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        options["max_new_tokens"] = dataset.max_new_tokens
        if plan is None:
            ids = vlm.model.generate(**inputs, **options)  # type: ignore[operator]
        else:
            with prune(vlm.model, plan, on_stage=trace):
                ids = vlm.model.generate(**inputs, **options)  # type: ignore[operator]
        said = vlm.decode(ids[:, prompt:])[0]
        run = trace.prefills[0] if trace.prefills else None
        events = run.events if run is not None else []
        methods.append(
            Method(
                label=label,
                prediction=said,
                score=dataset.score(said, sample),
                retained=n_visual if run is None else run.retained(0, vlm.num_layers),
                stages=[
                    Kept(
                        title=_when(event.layer, j),
                        kept=run.kept(j, 0) if run is not None else [],
                        merged=run.merged(j, 0) if run is not None else [],
                    )
                    for j, event in enumerate(events)
                ],
                box=_unit_box(said, dataset, sample),
            )
        )
    return Picture(
        id=sample.id,
        dataset=dataset.name,
        question=sample.question,
        answers=list(sample.answers),
        image=encode(_seen(sample.images[0], vlm.conventions.image_fit)),
        grid=_grid(vlm, inputs, n_visual),
        box=_unit_box(sample.answers[0], dataset, sample) if sample.answers else None,
        methods=methods,
    )


def _grid(vlm: VLM, inputs: Mapping[str, Any], n_visual: int) -> tuple[int, int] | None:
    """Rows and columns of an image's visual tokens; None where they are no plain grid of patches.

    A fixed number of tokens is a square; families of any resolution hand their patches' grid along,
    of which a square block each becomes a token.
    """
    if vlm.visual_tokens == n_visual:
        side = round(n_visual**0.5)
        return (side, side) if side * side == n_visual else None
    sizes = inputs.get("image_grid_thw")
    if sizes is None or len(sizes) != 1 or int(sizes[0][0]) != 1:
        return None
    height, width = int(sizes[0][1]), int(sizes[0][2])
    block = round((height * width / n_visual) ** 0.5)
    if block < 1 or height % block or width % block:
        return None
    grid = (height // block, width // block)
    return grid if grid[0] * grid[1] == n_visual else None


def _seen(image: Image.Image, fit: str) -> Image.Image:
    """The part of an image that becomes visual tokens: processors that crop take the centre."""
    if fit != "crop" or image.width == image.height:
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _when(layer: int, stage: int) -> str:
    if layer == 0:
        return "before layer 1"
    return f"{'after' if stage == 0 else 'before'} layer {layer}"


def _unit_box(
    text: str, dataset: Dataset, sample: Sample
) -> tuple[float, float, float, float] | None:
    """A box in fractions of the image, where the data set's answers are such boxes.

    Reference boxes in pixels belong to the image before it was padded or cut: they are not drawn.
    """
    box = parse_box(text) if dataset.localization and sample.box is None else None
    inside = box is not None and all(-0.01 <= v <= 1.01 for v in box)
    return box if inside else None


def encode(image: Image.Image, largest: int = LARGEST) -> str:
    """An image as base64 of a PNG no larger than `largest` pixels a side."""
    small = image.convert("RGB")
    small.thumbnail((largest, largest))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def describe(data: Data) -> Description:
    """What the pictures are, in words."""
    total = sum(data.datasets.values())
    labels = [label for label in data.scores if label not in (data.reference, VANILLA)]
    findings = [
        f"The pruned methods differ in score on {data.disagreed} of {total} samples."
        if labels
        else f"{total} samples were answered.",
        *(
            f"{data.reference} scores higher than {label} on {data.wins[label]} samples and lower "
            f"on {data.losses[label]}."
            for label in labels
        ),
    ]
    rule = {
        "disagree": "the first of each data set, in the order drawn, on which the pruned methods "
        "differ in score",
        "first": "the first of each data set in the order drawn",
        "wrong": f"the first of each data set on which {data.reference} scores lower than the "
        "unpruned model",
    }[data.pick]
    findings.append(f"Shown are {len(data.pictures)} samples: {rule}. They are not typical.")
    if data.pick == "first":
        findings[-1] = f"Shown are {len(data.pictures)} samples: {rule}."
    names = list(data.datasets)
    table = Table(
        title="Scores over all samples that were looked at",
        columns=("method", *names),
        rows=tuple(
            (label, *(percent(sets[name], 1) for name in names))
            for label, sets in data.scores.items()
        ),
    )
    measured = (
        f"Greedy answers to {samples_text(data.datasets)} with {data.retain} retained on "
        "average; patches traced in a second run of the samples shown."
    )
    return Description(measured, tuple(findings), (table,))
