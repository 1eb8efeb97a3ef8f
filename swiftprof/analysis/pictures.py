"""Which patches are left after each stage, and what is answered from them (paper Fig. 3 and 6)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from swiftprof.analysis.base import (
    AtBudget,
    MethodsOpt,
    Progress,
    SamplesOpt,
    Subject,
    budget_text,
    reference,
)
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.analysis.patches import StagePatches, draw_patches, legend
from swiftprof.analysis.traced import VANILLA, Box, Method, Picture, decode, trace_sample
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from swiftprof.data.base import Dataset
    from swiftprof.evaluation.answer import Answer
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan

PICKS = ("disagree", "first", "wrong")
"""Samples to show: methods differ in score; simply the first; the reference method is wrong."""
RIGHT = "#009E73"
MOST_STAGES = 4
"""Stages of the reference that a figure shows: the last ones."""


class Pictures(Data):
    """What was measured.

    Attributes:
        pick: the rule that chose samples, one of `PICKS`.
        scores: label -> data set -> score over all the samples that were looked at.
        disagreed: samples of those looked at on which methods differ in score.
        wins, losses: label -> samples where the reference scores higher than it, or lower.
    """

    pick: str
    retain: str
    reference: str
    scores: dict[str, dict[str, float]]
    disagreed: int
    wins: dict[str, int]
    losses: dict[str, int]
    pictures: list[Picture]

    def describe(self) -> Description:
        total = sum(self.datasets.values())
        labels = [label for label in self.scores if label not in (self.reference, VANILLA)]
        findings = [
            f"The pruned methods differ in score on {self.disagreed} of {total} samples."
            if labels
            else f"{total} samples were answered.",
            *(
                f"{self.reference} scores higher than {label} on {self.wins[label]} samples and "
                f"lower on {self.losses[label]}."
                for label in labels
            ),
        ]
        rule = {
            "disagree": "the first of each data set, in the order drawn, on which the pruned "
            "methods differ in score. They are not typical",
            "first": "the first of each data set in the order drawn",
            "wrong": f"the first of each data set on which {self.reference} scores lower than the "
            "unpruned model. They are not typical",
        }[self.pick]
        findings.append(f"Shown are {len(self.pictures)} samples: {rule}.")
        sets = list(self.datasets)
        table = Table(
            title="Scores over all samples that were looked at",
            columns=("method", *sets),
            rows=tuple(
                (label, *(percent(each[name], 1) for name in sets))
                for label, each in self.scores.items()
            ),
        )
        measured = (
            f"Greedy answers to {samples_text(self.datasets)} with {self.retain} retained on "
            "average; patches traced in a second run of the samples shown."
        )
        return Description(measured, tuple(findings), (table,))

    def draw(self) -> Figure:
        """A row per sample: the image, the reference's stages, what the others end with."""
        from swiftprof.drawing import INK, canvas

        shown = [p for p in self.pictures if p.grid is not None]
        if not shown:
            figure = canvas(6, 1.2)
            figure.text(0.5, 0.5, "no sample to show under this rule", ha="center", va="center")
            return figure
        rows = [self._panels(picture) for picture in shown]
        columns = 1 + max(map(len, rows))
        figure = canvas(1.75 * columns, 2.55 * len(rows) + 0.4)
        for number, (picture, panels) in enumerate(zip(shown, rows, strict=True)):
            axes = [
                figure.add_subplot(len(rows), columns, number * columns + place + 1)
                for place in range(1 + len(panels))
            ]
            grid = picture.grid or (1, 1)
            image = decode(picture.image)
            whole = next((m for m in picture.methods if not m.stages), None)
            draw_patches(axes[0], image, grid, None, f"all {grid[0] * grid[1]} tokens")
            _box(axes[0], picture.box, grid, INK, ":")
            asked = "\n".join(textwrap.wrap(_short(picture.question, 50), 25)[:2])
            said = [f"→ {_said(picture.answers[0], picture.box)}"] if picture.answers else []
            said += [f"unpruned: {_said(whole.prediction, whole.box)}"] if whole else []
            axes[0].set_xlabel("\n".join([asked, *said]), fontsize=7.5)
            for panel, (method, stage) in zip(axes[1:], panels, strict=True):
                title = f"{_short(method.label, 12)}, {stage.title}\n{stage.counts()}"
                draw_patches(panel, image, grid, stage, title)
                panel.title.set_fontsize(7.5)
                if stage is method.stages[-1]:
                    _answer(panel, method, grid)
        stages = [s for panels in rows for _, s in panels]
        figure.supxlabel(
            f"{legend(stages)}    dotted box: reference    solid box: answer", fontsize=9
        )
        return figure

    def _panels(self, picture: Picture) -> list[tuple[Method, StagePatches]]:
        found = []
        pruned = [m for m in picture.methods if m.stages]
        for method in sorted(pruned, key=lambda m: m.label != self.reference):
            mine = method.label == self.reference
            found += [(method, s) for s in method.stages[-MOST_STAGES if mine else -1 :]]
        return found


def _answer(panel: Axes, method: Method, grid: tuple[int, int]) -> None:
    from swiftprof.drawing import ACCENT

    good = method.score > 0.5
    colour = RIGHT if good else ACCENT
    panel.set_xlabel(f"{'✓' if good else '✗'} {_said(method.prediction, method.box)}", fontsize=8,
                     color=colour, fontweight="bold")  # fmt: skip
    _box(panel, method.box, grid, colour, "-")


def _said(text: str, box: object) -> str:
    """An answer; a box is drawn, not written."""
    return "a box" if box is not None else _short(text, 20)


def _short(text: str, most: int = 34) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _box(axes: Axes, box: Box | None, grid: tuple[int, int], colour: str, style: str) -> None:
    from matplotlib.patches import Rectangle

    from swiftprof.analysis.patches import PATCH

    if box is not None:
        sides = (grid[1], grid[0]) * 2
        left, top, right, bottom = (v * PATCH * n for v, n in zip(box, sides, strict=True))
        size = (right - left, bottom - top)
        axes.add_patch(
            Rectangle((left, top), *size, fill=False, edgecolor=colour, lw=1.8, ls=style)
        )


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
) -> Pictures:
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
    from swiftprof.data.drawing import draw
    from swiftprof.evaluation.answer import answer_samples, check_plans, common

    variants: dict[str, Plan | None] = {VANILLA: None, **plans}
    check_plans(vlm, variants)
    chosen: list[tuple[Dataset, str, int]] = []
    answers: dict[str, list[Answer]] = {}
    sizes: dict[str, int] = {}
    broken: dict[str, int] = {}
    for number, dataset in enumerate(datasets):
        where = split or dataset.eval_split
        indices = draw(dataset, where, samples, seed, at_most=True)

        def report(done: int, _: int, before: int = number * samples) -> None:
            if progress:
                progress(before + done, samples * len(datasets))

        said, failed = answer_samples(
            vlm, dataset, where, indices, variants, batch_size=batch_size or 16, progress=report
        )
        found = common(said, variants)
        if not found:
            raise SwiftprofError(
                f"data set {dataset.name}: none of {len(indices)} samples can be used; "
                f"the first: {next(each[0].reason for each in failed.values() if each)}"
            )
        answers[dataset.name] = list(found)
        sizes[dataset.name] = len({a.place for a in found})
        if lost := len(indices) - sizes[dataset.name]:
            broken[dataset.name] = lost
        share = show // len(datasets) + (number < show % len(datasets))
        places = choose(found, pick, reference)[:share]
        chosen += [(dataset, where, indices[place]) for place in places]
    every = [a for found in answers.values() for a in found]
    wins, losses = _tally(every, reference)
    return Pictures(
        datasets=sizes,
        skipped=broken,
        pick=pick,
        retain=budget_text(plans[reference]),
        reference=reference,
        scores={
            label: {
                name: _mean([a.score for a in found if a.variant == label])
                for name, found in answers.items()
            }
            for label in variants
        },
        disagreed=sum(len(choose(found, "disagree", reference)) for found in answers.values()),
        wins=wins,
        losses=losses,
        pictures=[trace_sample(vlm, *one, variants) for one in chosen],
    )


def choose(found: Sequence[Answer], pick: str, reference: str) -> list[int]:
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
        if a.variant != reference:
            gain = mine[a.id, a.question, a.place] - a.score
            wins[a.variant] = wins.get(a.variant, 0) + (gain > 0)
            losses[a.variant] = losses.get(a.variant, 0) + (gain < 0)
    return wins, losses


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6)


@dataclass(frozen=True)
class PicturesAnalysis(AtBudget):
    """Which patches are left after each stage, and what is answered from them? (paper Fig. 3, 6)

    Answers --samples of each set with every method and shows some of them, by the rule of --pick,
    in the order drawn.
    """

    title: ClassVar[str] = "What each method keeps"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze pictures",
        "swiftprof analyze pictures --methods pdrop,swiftvlm --show 4 --pick first",
    )
    data: ClassVar[type[Data]] = Pictures

    samples: SamplesOpt = 60
    methods: MethodsOpt = "fastv,pdrop,feather,swiftvlm"
    show: Annotated[int, typer.Option("--show", min=1, max=50, help="Samples to show.")] = 6
    pick: Annotated[
        str,
        typer.Option(
            "--pick",
            help="disagree: methods differ in score; first: simply the first; wrong: swiftvlm "
            "scores below the unpruned model.",
        ),
    ] = "disagree"

    def run(self, subject: Subject) -> Pictures:
        if self.pick not in PICKS:
            raise BadParameter("pick", self.pick[:60], f"must be one of {', '.join(PICKS)}")
        plans = self.plans(subject, self.methods)
        with subject.progress("answering") as step:
            return measure(
                subject.vlm,
                subject.datasets,
                plans,
                reference(list(plans)),
                samples=self.samples,
                show=self.show,
                pick=self.pick,
                seed=self.seed,
                split=self.split,
                batch_size=self.batch_size,
                progress=step,
            )


ANALYSIS = PicturesAnalysis
