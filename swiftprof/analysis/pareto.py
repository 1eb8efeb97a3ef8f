"""Score against tokens or FLOPs: methods over budgets, and which of them are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import AtBudget, MethodsOpt, SamplesOpt, Subject, names
from swiftprof.analysis.document import Data, Description
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.statistics import Estimate
from swiftprof.evaluation.table import NAMES, interval, shown_groups
from swiftprof.tables import Table, flops_unit, percent, samples_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from swiftprof.evaluation.results import Results
    from swiftprof.evaluation.settings import VariantSettings

COSTS = {"tokens": "retained visual tokens", "flops": "FLOPs of the prefill"}
RATIOS = "1/2,1/3,2/9,1/6"
SAME = 0.005
"""Shares of the cost that differ by less are the same."""
MOST_LINES = 12
"""Methods up to which lines over budgets can be told apart."""


class Point(BaseModel):
    """One method at one budget.

    Attributes:
        share: the cost, as a fraction of the unpruned model's.
        averages: group of data sets -> score relative to the unpruned model.
        on_front: groups in which no other point has as much score for less.
        cells: tokens and FLOPs, as a table shows them.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    budget: str
    share: float
    averages: dict[str, Estimate]
    on_front: list[str] = []
    cells: tuple[str, str] = ("", "")


class Front(Data):
    """What was measured.

    Attributes:
        cost: one of `COSTS`.
        groups: group -> its data sets.
        left_out: methods that a budget is impossible for, with the reason.
    """

    cost: str = "tokens"
    groups: dict[str, list[str]]
    points: list[Point]
    left_out: tuple[str, ...] = ()
    unit: str = ""
    formula: str = ""
    evaluation: str = ""

    @classmethod
    def of(
        cls, results: Results, cost: str = "tokens", left_out: Sequence[str] = (), where: str = ""
    ) -> Front:
        """From an evaluation's results. Raises SwiftprofError where no score is relative."""
        if not results.groups["overall"]:
            raise SwiftprofError(
                "evaluation: the unpruned model scores 0, so no score is relative to it"
            )
        groups = {name: list(results.groups[name]) for name in shown_groups(results)}
        whole = results.rows[0].tflops
        unit, scaled = flops_unit(whole)
        points = [
            Point(
                method=row.label,
                budget=row.budget,
                share=row.retained.share if cost == "tokens" else row.tflops / whole,
                averages={n: found for n in groups if (found := row.averages[n]) is not None},
                cells=(
                    f"{row.retained.mean:.1f} ({percent(row.retained.share)})",
                    f"{scaled(row.tflops)} ({percent(row.tflops / whole)})",
                ),
            )
            for row in results.rows
        ]
        on = {name: front(points, name) for name in groups}
        marked = [
            p.model_copy(update={"on_front": [name for name in groups if n in on[name]]})
            for n, p in enumerate(points)
        ]
        return cls(
            datasets=results.samples,
            skipped={name: len(each) for name, each in results.skipped.items() if each},
            cost=cost,
            groups=groups,
            points=marked,
            left_out=tuple(left_out),
            unit=unit,
            formula=results.formula,
            evaluation=where,
        )

    def describe(self) -> Description:
        findings = []
        for group, sets in self.groups.items():
            mine = [p for p in self._pruned() if group in p.averages]
            on = dict.fromkeys(p.method for p in mine if group in p.on_front)
            findings.append(
                f"{NAMES[group].capitalize()} ({', '.join(sets)}): pruned methods on the Pareto "
                f"front: {', '.join(on) or 'none'}."
            )
            for budget in dict.fromkeys(p.budget for p in mine):
                findings.append(_best(group, [p for p in mine if p.budget == budget]))
        findings += [f"Left out: {reason}" for reason in self.left_out]
        where = f"; {self.evaluation}" if self.evaluation else ""
        measured = (
            f"Greedy answers to {samples_text(self.datasets)}, the same for all methods{where}. "
            "Tokens: visual tokens that really entered a layer, averaged over layers. FLOPs: "
            f"{self.formula}."
        )
        table = Table(
            title="Score relative to the unpruned model [95 % interval]",
            columns=("method", "budget", "tokens", self.unit, *(NAMES[g] for g in self.groups)),
            rows=tuple(
                (p.method, p.budget, *p.cells, *(_cell(p, group) for group in self.groups))
                for p in self.points
            ),
            note=f"●: on the Pareto front, no other point has as much score for fewer {self.cost}.",
            left=(0, 1),
        )
        return Description(measured, tuple(findings), (table,))

    def draw(self) -> Figure:
        """A panel per group: lines over the budgets where there are several, else dots by name."""
        from swiftprof.drawing import canvas

        methods = list(dict.fromkeys(p.method for p in self._pruned()))
        methods.sort(key=lambda m: m != "swiftvlm")  # it has the main colour, the rest their order
        most, count = len(self._pruned()), len(self.groups)
        lines = most > len(methods) and len(methods) <= MOST_LINES
        size = (4.3 * count + 0.6, 4.4) if lines else (2.4 + 2.9 * count, 1.1 + 0.26 * max(3, most))
        figure = canvas(*size)
        panels = figure.subplots(1, count, squeeze=False, sharey=not lines)[0]
        for panel, group in zip(panels, self.groups, strict=True):
            if lines:
                self._lines(panel, group, methods)
            else:
                self._dots(panel, group)
        for panel in panels[1:]:
            panel.set_ylabel("")
        return figure

    def _lines(self, axes: Axes, group: str, methods: Sequence[str]) -> None:
        from swiftprof.drawing import FAINT, INK, furnish
        from swiftprof.evaluation.drawing import score_lines

        shares = [100 * p.share for p in self._pruned()]
        step = 0.006 * (max(shares) - min(shares))
        short = {m: Path(m).name for m in methods}  # of plans from files
        if len(set(short.values())) < len(methods):
            short = {m: m for m in methods}
        lines: dict[str, list[tuple[float, ...]]] = {}
        for p in (p for m in methods for p in self._pruned() if p.method == m):
            if (mean := p.averages.get(group)) is None:
                continue
            # at one budget, intervals would hide each other
            aside = step * (methods.index(p.method) - (len(methods) - 1) / 2)
            point = (100 * p.share + aside, *(100 * v for v in (mean.value, mean.low, mean.high)))
            lines.setdefault(short[p.method], []).append(point)
            if group in p.on_front:
                axes.plot(*point[:2], "o", markersize=11, mfc="none", mec=INK, mew=1.1, zorder=5)
        score_lines(axes, lines)
        axes.set_xlabel(f"{COSTS[self.cost]}, % (shifted a little aside)")
        furnish(axes, NAMES[group])
        axes.text(0.99, 0.02, "○ Pareto front; dashed: unpruned", ha="right", fontsize=8.5,
                  color=FAINT, transform=axes.transAxes)  # fmt: skip

    def _dots(self, axes: Axes, group: str) -> None:
        from swiftprof.drawing import INK, MAIN, brief, furnish

        found = [p for p in self._pruned() if group in p.averages][::-1]
        several = len({p.budget for p in found}) > 1
        for y, point in enumerate(found):
            mean = point.averages[group]
            axes.plot([100 * mean.low, 100 * mean.high], [y, y], "-", color=MAIN, linewidth=1.6)
            axes.plot(100 * mean.value, y, "o", color=MAIN, markersize=5.5)
        axes.axvline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        labels = [brief(f"{p.method}, {p.budget}" if several else p.method) for p in found]
        axes.set_yticks(range(len(found)), labels)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("score, % of the unpruned model")
        furnish(axes, NAMES[group], grid="x")

    def _pruned(self) -> list[Point]:
        return [p for p in self.points if p.method != VANILLA]


def front(points: Sequence[Point], group: str) -> set[int]:
    """Numbers of the points that no other dominates: with as much score for less, or with more
    score for no more. Shares of the cost that differ by less than `SAME` are the same: counts are
    whole numbers, so budgets are never met exactly."""
    known = [
        (n, p.share, p.averages[group].value) for n, p in enumerate(points) if group in p.averages
    ]

    def dominated(share: float, score: float) -> bool:
        return any(
            (t < share - SAME and s >= score) or (t <= share + SAME and s > score)
            for _, t, s in known
        )

    return {n for n, share, score in known if not dominated(share, score)}


def _best(group: str, points: Sequence[Point]) -> str:
    """Who keeps most at a budget, and whose interval reaches that far."""
    top = max((p.averages[group] for p in points), key=lambda a: a.value)
    first = [p.method for p in points if p.averages[group].value == top.value]
    close = [p.method for p in points if p.averages[group].high >= top.low]
    close = [method for method in close if method not in first]
    end = f"; intervals overlap with {', '.join(close)}." if close else "."
    keep = "keep" if len(first) > 1 else "keeps"
    return f"At {points[0].budget}: {' and '.join(first)} {keep} most, {interval(top)}{end}"


def _cell(point: Point, group: str) -> str:
    return interval(point.averages.get(group)) + (" ●" if group in point.on_front else "")


@dataclass(frozen=True)
class Pareto(AtBudget):
    """Which method keeps most of the score at each number of tokens, or of FLOPs?

    Runs an evaluation over several budgets, or reads one. A plan that is given as a file is a point
    beside the methods. A method that a budget is impossible for is left out there, and said so.
    """

    title: ClassVar[str] = "Score against cost"
    needs: ClassVar[str] = "a model and a profile, or a finished evaluation"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze pareto",
        "swiftprof analyze pareto --methods fastv,drop,swiftvlm,searched.json --cost flops",
        "swiftprof analyze pareto --eval evals/tiny-llava-1a2b3c4d",
    )
    data: ClassVar[type[Data]] = Front

    samples: SamplesOpt = 100
    methods: MethodsOpt = "random,fastv,pdrop,sparsevlm,feather,drop,swiftvlm"
    ratio: Annotated[
        str | None,
        typer.Option("--ratio", help="Token budgets as fractions of all.", show_default=RATIOS),
    ] = None
    cost: Annotated[
        str, typer.Option("--cost", help="What scores are set against: tokens or flops.")
    ] = "tokens"
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", help="A finished evaluation's folder, instead of running one."),
    ] = None

    def run(self, subject: Subject) -> Front:
        from swiftprof.evaluation.results import Results

        if self.cost not in COSTS:
            raise BadParameter("cost", self.cost[:60], f"must be one of {', '.join(COSTS)}")
        if self.evaluation is not None:
            found = Results.load(self.evaluation)
            return Front.of(found, self.cost, where=str(self.evaluation))
        wanted, impossible = self.variants(subject)
        done = self.answers(subject, wanted)
        return Front.of(done.results, self.cost, impossible, str(done.path))

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
