"""Score against retained tokens: methods over budgets, and which of them are worth their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import AtBudget, MethodsOpt, SamplesOpt, Subject, command, names
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.errors import SwiftprofError
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from swiftprof.evaluation.results import Results
    from swiftprof.evaluation.settings import VariantSettings

VANILLA = "vanilla"
TITLES = {"localization": "localization", "non_localization": "other sets", "overall": "all sets"}
RATIOS = "1/2,1/3,2/9,1/6"
SAME = 0.005
"""Shares of retained tokens that differ by less are the same."""
MOST_LINES = 12
"""Methods up to which lines over budgets can be told apart."""


class Point(BaseModel):
    """One method at one budget.

    Attributes:
        retained: visual tokens that were really there, averaged over layers and samples.
        share: the same as a fraction of all.
        averages: group of data sets -> (score relative to the unpruned model, low, high).
        on_front: groups in which no other point has as much score for fewer tokens.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    budget: str
    retained: float
    share: float
    tflops: float
    averages: dict[str, tuple[float, float, float]]
    on_front: list[str] = []


class Front(Data):
    """What was measured.

    Attributes:
        groups: group -> its data sets; a group without sets is left out.
        left_out: methods that a budget is impossible for, with the reason.
    """

    groups: dict[str, list[str]]
    points: list[Point]
    left_out: tuple[str, ...] = ()
    formula: str = ""
    evaluation: str = ""

    @classmethod
    def of(cls, results: Results, left_out: Sequence[str] = (), where: str = "") -> Front:
        """From an evaluation's results. Raises SwiftprofError where no score is relative."""
        groups = {name: list(sets) for name, sets in results.groups.items() if sets}
        if len(groups) == 2:  # one kind of set: `overall` repeats it
            groups.pop("overall", None)
        points = []
        for row in results.rows:
            averages = {
                name: (each.value, each.low, each.high)
                for name, each in row.averages.items()
                if name in groups and each is not None
            }
            points.append(
                Point(
                    method=row.label,
                    budget=row.budget,
                    retained=row.retained.mean,
                    share=row.retained.share,
                    tflops=row.tflops,
                    averages=averages,
                )
            )
        if not any(p.averages for p in points):
            raise SwiftprofError(
                "evaluation: the unpruned model scores 0, so no score is relative to it"
            )
        on = {name: front(points, name) for name in groups}
        marked = [
            p.model_copy(update={"on_front": [name for name in groups if n in on[name]]})
            for n, p in enumerate(points)
        ]
        return cls(
            datasets=results.samples,
            skipped={name: len(each) for name, each in results.skipped.items() if each},
            groups=groups,
            points=marked,
            left_out=tuple(left_out),
            formula=results.formula,
            evaluation=where,
        )

    def describe(self) -> Description:
        findings = []
        for group, sets in self.groups.items():
            on = [p for p in self.points if group in p.on_front and p.method != VANILLA]
            methods = ", ".join(dict.fromkeys(p.method for p in on)) or "none"
            title = TITLES.get(group, group).capitalize()
            findings.append(
                f"{title} ({', '.join(sets)}): pruned methods on the Pareto front: {methods}."
            )
            budgets = dict.fromkeys(p.budget for p in self.points if p.budget)
            findings += [self._best(b, group) for b in budgets if self._at(b, group)]
        findings += [f"Left out: {reason}" for reason in self.left_out]
        where = f"; {self.evaluation}" if self.evaluation else ""
        measured = (
            f"Greedy answers to {samples_text(self.datasets)}, the same for all methods{where}. "
            "Tokens: visual tokens that really entered a layer, averaged over layers. FLOPs: "
            f"{self.formula}."
        )
        return Description(measured, tuple(findings), (self._table(),))

    def _best(self, budget: str, group: str) -> str:
        here = self._at(budget, group)
        top = max(p.averages[group][0] for p in here)
        first = [p for p in here if p.averages[group][0] == top]
        value, low, high = first[0].averages[group]
        close = [p.method for p in here if p not in first and p.averages[group][2] >= low]
        found = (
            f"At {budget}: {' and '.join(p.method for p in first)} "
            f"keep{'' if len(first) > 1 else 's'} most, {percent(value, 1)} "
            f"[{100 * low:.1f}, {100 * high:.1f}]"
        )
        return found + (f"; intervals overlap with {', '.join(close)}." if close else ".")

    def _table(self) -> Table:
        unit, factor = ("TFLOPs", 1) if self.points[0].tflops >= 0.1 else ("GFLOPs", 1000)
        return Table(
            title="Score relative to the unpruned model [95 % interval]",
            columns=("method", "budget", "tokens", unit, *(TITLES.get(g, g) for g in self.groups)),
            rows=tuple(
                (
                    p.method,
                    p.budget,
                    f"{p.retained:.1f} ({percent(p.share)})",
                    f"{factor * p.tflops:.3g}",
                    *(_cell(p, group) for group in self.groups),
                )
                for p in self.points
            ),
            note="●: on the Pareto front, no other point has as much score for fewer tokens.",
            left=(0, 1),
        )

    def draw(self) -> Figure:
        """A panel per group: lines over the budgets where there are several, else dots by name."""
        from swiftprof.drawing import canvas

        methods = [m for m in dict.fromkeys(p.method for p in self.points) if m != VANILLA]
        methods.sort(key=lambda m: m != "swiftvlm")  # it has the main colour, the rest their order
        budgets = {p.budget for p in self.points if p.method != VANILLA}
        groups = list(self.groups)
        if len(budgets) > 1 and len(methods) <= MOST_LINES:
            figure = canvas(4.3 * len(groups) + 0.6, 4.4)
            panels = figure.subplots(1, len(groups), squeeze=False)[0]
            for panel, group in zip(panels, groups, strict=True):
                self._lines(panel, group, methods)
            panels[0].set_ylabel("score, % of the unpruned model")
        else:
            height = 1.1 + 0.26 * max(3, len(methods) * max(1, len(budgets)))
            figure = canvas(2.4 + 2.9 * len(groups), height)
            panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
            for panel, group in zip(panels, groups, strict=True):
                self._dots(panel, group)
        return figure

    def _lines(self, axes: Axes, group: str, methods: Sequence[str]) -> None:
        from swiftprof.drawing import FAINT, INK, MAIN, MARKERS, SERIES, brief, end_labels, furnish

        pruned = [100 * p.share for p in self.points if p.method != VANILLA]
        span = (max(pruned) - min(pruned)) or 1
        step = 0.006 * span  # at one budget, intervals would hide each other
        labels, aside = [], {VANILLA: 0.0}
        for number, method in enumerate(methods):
            # colours come again where there are many methods, but the first one's does not
            again = 1 + (number - 1) % (len(SERIES) - 1) if number else 0
            colour, marker = SERIES[again], MARKERS[number % len(MARKERS)]
            aside[method] = step * (number - (len(methods) - 1) / 2)
            mine = sorted(self._of(method, group), key=lambda p: p.share)
            if not mine:
                continue
            x = [100 * p.share + aside[method] for p in mine]
            y, low, high = 100 * np.array([p.averages[group] for p in mine]).T
            axes.errorbar(
                x, y, yerr=(y - low, high - y), fmt=f"{marker}-", color=colour, linewidth=1.6,
                markersize=5.5, elinewidth=0.9, alpha=0.95,
            )  # fmt: skip
            labels.append((y[-1], brief(method, 22), colour))
        for p in (p for p in self.points if group in p.on_front):
            place = 100 * p.share + aside[p.method], 100 * p.averages[group][0]
            axes.plot(*place, "o", markersize=11, mfc="none", mec=INK, mew=1.1, zorder=5)
        axes.axhline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        right = max(pruned) + 0.08 * span + 1
        axes.set_xlim(min(pruned) - 0.08 * span - 1, right)
        axes.margins(y=0.1)
        end_labels(axes, right, labels, bold=MAIN, gap=0.052)
        axes.set_xlabel("retained visual tokens, % (shifted a little aside)")
        furnish(axes, TITLES.get(group, group))
        axes.text(0.99, 0.02, "○ Pareto front; dashed: unpruned", ha="right", fontsize=8.5,
                  color=FAINT, transform=axes.transAxes)  # fmt: skip

    def _dots(self, axes: Axes, group: str) -> None:
        from swiftprof.drawing import INK, MAIN, brief, furnish

        found = [p for p in self.points if p.method != VANILLA and group in p.averages]
        for y, point in enumerate(reversed(found)):
            value, low, high = (100 * v for v in point.averages[group])
            axes.plot([low, high], [y, y], "-", color=MAIN, linewidth=1.6)
            axes.plot(value, y, "o", color=MAIN, markersize=5.5)
        axes.axvline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        several = len({p.budget for p in found}) > 1
        axes.set_yticks(range(len(found)))
        axes.set_yticklabels(
            [brief(f"{p.method}, {p.budget}" if several else p.method) for p in reversed(found)]
        )
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("score, % of the unpruned model")
        furnish(axes, TITLES.get(group, group), grid="x")

    def _at(self, budget: str, group: str) -> list[Point]:
        return [p for p in self.points if p.budget == budget and group in p.averages]

    def _of(self, method: str, group: str) -> list[Point]:
        return [p for p in self.points if p.method == method and group in p.averages]


def front(points: Sequence[Point], group: str) -> set[int]:
    """Numbers of the points that no other dominates: with as much score for fewer tokens, or with
    more score for no more. Shares of tokens that differ by less than `SAME` are the same: counts
    are whole numbers, so budgets are never met exactly."""
    known = [
        (n, p.share, p.averages[group][0]) for n, p in enumerate(points) if group in p.averages
    ]

    def dominated(share: float, score: float) -> bool:
        return any(
            (t < share - SAME and s >= score) or (t <= share + SAME and s > score)
            for _, t, s in known
        )

    return {n for n, share, score in known if not dominated(share, score)}


def _cell(point: Point, group: str) -> str:
    if group not in point.averages:
        return "–"
    value, low, high = point.averages[group]
    mark = " ●" if group in point.on_front else ""
    return f"{percent(value, 1)} [{100 * low:.1f}, {100 * high:.1f}]{mark}"


@dataclass(frozen=True)
class Pareto(AtBudget):
    """Which method keeps most of the score at each number of tokens?

    Runs an evaluation over several budgets, or reads one. A method that a budget is impossible for
    is left out there, and said so.
    """

    title: ClassVar[str] = "Score against retained tokens"
    needs: ClassVar[str] = "a model and a profile, or a finished evaluation"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze pareto",
        "swiftprof analyze pareto --methods fastv,drop,swiftvlm --retain 256,192,128",
        "swiftprof analyze pareto --eval evals/tiny-llava-1a2b3c4d",
    )
    data: ClassVar[type[Data]] = Front

    samples: SamplesOpt = 100
    methods: MethodsOpt = "random,fastv,pdrop,sparsevlm,feather,drop,swiftvlm"
    ratio: Annotated[
        str | None,
        typer.Option("--ratio", help="Token budgets as fractions of all.", show_default=RATIOS),
    ] = None
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", help="A finished evaluation's folder, instead of running one."),
    ] = None

    def run(self, subject: Subject) -> Front:
        from swiftprof.analysis.layer_sets import digest
        from swiftprof.evaluation.api import evaluate
        from swiftprof.evaluation.results import Results

        if self.evaluation is not None:
            return Front.of(Results.load(self.evaluation), where=str(self.evaluation))
        wanted, impossible = self.variants(subject)
        subject.notes += [f"left out: {reason}" for reason in impossible]
        sets = [d.name for d in subject.datasets]
        asked = (self.samples, self.seed, self.split, sets)
        name = digest(*asked, *(each.model_dump(mode="json") for each in wanted))
        with subject.progress(f"evaluating {len(wanted)} variants") as step:
            done = evaluate(
                subject.vlm,
                wanted,
                list(subject.datasets),
                samples=self.samples,
                seed=self.seed,
                split=self.split,
                batch_size=self.batch_size,
                out=subject.folder / "pareto-answers" / name,
                command=command(),
                progress=step,
            )
        return Front.of(done.results, impossible, str(done.path))

    def variants(self, subject: Subject) -> tuple[list[VariantSettings], list[str]]:
        """Every possible pair of method and budget, and why the others are not.

        Raises SwiftprofError where not one is possible.
        """
        from swiftprof.evaluation.specs import parse_spec

        planner = subject.planner(self.budget)
        found: dict[str, VariantSettings] = {}
        impossible: list[str] = []
        for target in self.targets(RATIOS):
            for text in names(self.methods):
                try:
                    made = planner.variants([parse_spec(text)], [target])
                except SwiftprofError as error:
                    impossible.append(str(error))
                    continue
                found |= {each.name: each for each in made}
        if set(found) <= {VANILLA}:
            raise SwiftprofError(impossible[0] if impossible else "`methods`: name one that prunes")
        return list(found.values()), impossible


ANALYSIS = Pareto
