"""Which patches are left after each stage, and what is answered from them (paper Fig. 3 and 6)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from swiftprof.analysis.base import AtBudget, MethodsOpt, SamplesOpt, Subject, names
from swiftprof.analysis.document import Data, Description
from swiftprof.analysis.patches import PATCH, StagePatches, draw_patches, legend
from swiftprof.analysis.traced import Box, ShownSample, Traced, decode, trace_sample
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.evaluation.answer import VANILLA, common
from swiftprof.tables import Table, percent, samples_text, shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from swiftprof.evaluation.answer import Answer
    from swiftprof.evaluation.store import Answers
    from swiftprof.planning.plan_file import Plan

Asked = Mapping[str, "Answer"]
"""Label -> what it answered to one sample."""

PICKS = {
    "disagree": "the first of each data set, in the order drawn, on which the pruned methods "
    "differ in score. They are not typical",
    "first": "the first of each data set in the order drawn",
}
"""Rules that choose samples, and what is said of them."""
RIGHT = "#009E73"
MOST_STAGES = 4
"""Stages of the reference that a figure shows: the last ones."""


class Kept(Data):
    """What was measured.

    Attributes:
        pick: the rule that chose samples, one of `PICKS`.
        reference: the method whose stages are shown, and that the others are compared with.
        scores: label -> data set -> mean score over all the samples that were looked at.
        disagreed: samples of those looked at on which methods differ in score.
    """

    pick: str
    retain: str
    reference: str
    scores: dict[str, dict[str, float]]
    disagreed: int
    pictures: list[ShownSample]

    def describe(self) -> Description:
        total, sets = sum(self.datasets.values()), list(self.datasets)
        findings = [
            f"The pruned methods differ in score on {self.disagreed} of {total} samples.",
            f"Shown are {len(self.pictures)} samples: {PICKS[self.pick]}.",
        ]
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
        from swiftprof.drawing import canvas

        shown = [p for p in self.pictures if p.grid is not None]
        if not shown:
            figure = canvas(6, 1.2)
            figure.text(0.5, 0.5, "no sample to show under this rule", ha="center", va="center")
            return figure
        rows = [self._panels(picture) for picture in shown]
        columns = 1 + max(map(len, rows))
        figure = canvas(1.75 * columns, 2.55 * len(rows) + 0.4)
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes, picture, panels in zip(grid, shown, rows, strict=True):
            _row(axes, picture, panels)
        stages = [s for panels in rows for _, s in panels]
        boxes = "dotted box: reference    solid box: answer"
        figure.supxlabel(f"{legend(stages)}    {boxes}", fontsize=9)
        return figure

    def _panels(self, picture: ShownSample) -> list[tuple[Traced, StagePatches]]:
        pruned = [m for m in picture.methods if m.stages]
        pruned.sort(key=lambda m: m.label != self.reference)
        return [
            (method, stage)
            for method in pruned
            for stage in method.stages[-MOST_STAGES if method.label == self.reference else -1 :]
        ]


def _row(
    axes: Sequence[Axes], picture: ShownSample, panels: Sequence[tuple[Traced, StagePatches]]
) -> None:
    """One sample: the whole image, then what each stage leaves."""
    from swiftprof.drawing import ACCENT, INK, brief

    image, grid = decode(picture.image), picture.grid or (1, 1)
    whole = next((m for m in picture.methods if m.label == VANILLA), None)
    draw_patches(axes[0], image, grid, None, f"all {grid[0] * grid[1]} tokens")
    _box(axes[0], picture.box, grid, INK, ":")
    asked = "\n".join(textwrap.wrap(brief(" ".join(picture.question.split()), 50), 25)[:2])
    said = [f"→ {_said(picture.answers[0], picture.box)}"] if picture.answers else []
    said += [f"unpruned: {_said(whole.prediction, whole.box)}"] if whole else []
    axes[0].set_xlabel("\n".join([asked, *said]), fontsize=7.5)
    for panel, (method, stage) in zip(axes[1:], panels, strict=False):
        title = f"{brief(method.label, 12)}, {stage.title}\n{stage.counts()}"
        draw_patches(panel, image, grid, stage, title)
        panel.title.set_fontsize(7.5)
        if stage is method.stages[-1]:
            good = method.score > 0.5
            colour, mark = (RIGHT, "✓") if good else (ACCENT, "✗")
            panel.set_xlabel(f"{mark} {_said(method.prediction, method.box)}", fontsize=8,
                             color=colour, fontweight="bold")  # fmt: skip
            _box(panel, method.box, grid, colour, "-")
    for panel in axes[1 + len(panels) :]:
        panel.set_visible(False)


def _said(text: str, box: object) -> str:
    """An answer; a box is drawn, not written."""
    from swiftprof.drawing import brief

    return "a box" if box is not None else brief(" ".join(text.split()), 20)


def _box(axes: Axes, box: Box | None, grid: tuple[int, int], colour: str, style: str) -> None:
    from matplotlib.patches import Rectangle

    if box is not None:
        sides = (grid[1], grid[0]) * 2
        left, top, right, bottom = (v * PATCH * n for v, n in zip(box, sides, strict=True))
        size = (right - left, bottom - top)
        axes.add_patch(
            Rectangle((left, top), *size, fill=False, edgecolor=colour, lw=1.8, ls=style)
        )


def shared(answers: Answers, dataset: str) -> Sequence[Asked]:
    """The samples of a data set that every method answered, in the order drawn.

    Raises:
        SwiftprofError: there is none.
    """
    found: dict[int, dict[str, Answer]] = {}
    for each in common([a for sets in answers.values() for a in sets[dataset]], answers):
        found.setdefault(each.place, {})[each.variant] = each
    if not found:
        raise SwiftprofError(f"data set {dataset}: some methods fail on every sample")
    return list(found.values())


def chosen(samples: Sequence[Asked], pick: str) -> Sequence[Asked]:
    """The samples that a rule picks: all, or those on which the pruned methods differ in score."""
    return [
        each
        for each in samples
        if pick == "first" or len({a.score for label, a in each.items() if label != VANILLA}) > 1
    ]


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
    data: ClassVar[type[Data]] = Kept

    samples: SamplesOpt = 60
    methods: MethodsOpt = "fastv,pdrop,feather,swiftvlm"
    show: Annotated[int, typer.Option("--show", min=1, max=50, help="Samples to show.")] = 6
    pick: Annotated[
        str,
        typer.Option(
            "--pick",
            help="disagree: methods differ in score; first: simply the first.",
        ),
    ] = "disagree"

    def run(self, subject: Subject) -> Kept:
        if self.pick not in PICKS:
            raise BadParameter("pick", self.pick[:60], f"must be one of {', '.join(PICKS)}")
        return self.measured(subject, self.plans(subject))

    def plans(self, subject: Subject) -> dict[str, Plan]:
        """Label -> plan of every method, at the one budget."""
        from swiftprof.evaluation.specs import parse_spec

        specs, targets = [parse_spec(each) for each in names(self.methods)], self.targets()
        if len(targets) != 1:
            raise SwiftprofError("pictures: takes one token budget at a time")
        made = subject.planner(self.budget).variants(specs, targets)
        found = {each.label: plan for each in made if (plan := each.load()) is not None}
        if not found:
            raise BadParameter("methods", None, "name at least one that prunes")
        return found

    def measured(self, subject: Subject, plans: Mapping[str, Plan]) -> Kept:
        """Answer samples with every plan, choose some by the rule, and trace those."""
        from swiftprof.evaluation.settings import VariantSettings

        reference = next((n for n in plans if n.partition(":")[0] == "swiftvlm"), list(plans)[-1])
        done = self.answers(subject, [VariantSettings.of(n, "", p) for n, p in plans.items()])
        share = plans[reference].retained(10_000) / 10_000
        results, draw, pictures = done.results, done.results.draw, list[ShownSample]()
        both = {name: shared(done.answers, name) for name in results.samples}
        skipped = {n: lost for n in both if (lost := len(draw[n]) - len(both[n]))}
        room = shares(self.show, list(both))
        for dataset in (d for d in subject.datasets if d.name in both):
            name, split = dataset.name, results.settings.splits[dataset.name]
            for answers in chosen(both[name], self.pick)[: room[name]]:
                index = draw[name][answers[VANILLA].place]
                pictures.append(trace_sample(subject.vlm, dataset, split, index, answers, plans))
        return Kept(
            datasets={name: len(each) for name, each in both.items()},
            skipped=skipped,
            pick=self.pick,
            retain=f"{percent(share, 1)} of the visual tokens",
            reference=reference,
            scores={
                label: {
                    name: round(sum(a[label].score for a in each) / len(each), 6)
                    for name, each in both.items()
                }
                for label in done.answers
            },
            disagreed=sum(len(chosen(each, "disagree")) for each in both.values()),
            pictures=pictures,
        )


ANALYSIS = PicturesAnalysis
