"""Score against what it costs, and which methods are worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from swiftprof.drawing import INK, MAIN, MARKERS, SERIES, brief, canvas, end_labels, furnish, plain
from swiftprof.errors import BadParameter
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.results import Results, VariantResult
from swiftprof.evaluation.table import NAMES, shown_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Against = Literal["tokens", "flops"]
_AXES = {"tokens": "retained visual tokens", "flops": "FLOPs of the prefill"}
SAME = 0.005
"""Shares of the cost that differ by less are the same."""
MOST_LINES = 12
"""Methods up to which lines over budgets can be told apart."""


def read_against(name: str, value: str) -> Against:
    """What scores are set against, from a parameter. Raises BadParameter."""
    if value not in get_args(Against):
        raise BadParameter(name, value[:60], "must be tokens or flops")
    return cast(Against, value)


def front(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Those that no other dominates: with as much score for less, or with more for no more.

    Costs that differ by less than `SAME` are the same: counts are whole numbers, so budgets are
    never met exactly.

    Args:
        points: name -> (cost as a share, score).
    """

    def dominated(share: float, score: float) -> bool:
        return any(
            (t < share - SAME and s >= score) or (t <= share + SAME and s > score)
            for t, s in points.values()
        )

    return {name for name, point in points.items() if not dominated(*point)}


def front_of(results: Results, group: str, against: Against) -> set[str]:
    """Names of the variants on the Pareto front of a group of data sets."""
    return front(
        {
            row.variant: (_share(results, row, against), mean.value)
            for row in results.rows
            if (mean := row.averages[group])
        }
    )


def score_figure(results: Results, against: Against = "tokens") -> Figure:
    """The average over each group of data sets, with its interval, of every method.

    A panel per group: lines over the budgets where there are several, else dots by name.

    Args:
        against: retained visual tokens, or FLOPs of the prefill.

    Returns:
        A figure apart from pyplot's state. Where the unpruned model scores 0 nothing is relative to
        it, and only the axes are drawn.

    Raises:
        BadParameter: against something else.
    """
    read_against("against", against)
    groups = shown_groups(results) or ["overall"]
    rows = [row for row in results.rows if row.variant != VANILLA]
    rows.sort(key=lambda row: row.label != "swiftvlm")  # it has the main colour
    most, methods = len(rows), len({row.label for row in rows})
    lines, count = most > methods and methods <= MOST_LINES, len(groups)
    size = (4.3 * count + 0.6, 4.4) if lines else (2.4 + 2.9 * count, 1.1 + 0.26 * max(3, most))
    with plain():
        figure = canvas(*size)
        panels = figure.subplots(1, count, squeeze=False, sharey=not lines)[0]
        for panel, group in zip(panels, groups, strict=True):
            if lines:
                _lines(panel, results, rows, group, against)
            else:
                _dots(panel, rows, group)
            furnish(panel, NAMES[group], grid="y" if lines else "x")
        for panel in panels[1:]:
            panel.set_ylabel("")
    return figure


def _lines(
    axes: Axes, results: Results, rows: Sequence[VariantResult], group: str, against: Against
) -> None:
    methods = list(dict.fromkeys(row.label for row in rows))
    short = {m: Path(m).name for m in methods}  # of plans from files
    if len(set(short.values())) < len(methods):
        short = {m: m for m in methods}
    best = front_of(results, group, against)
    shares = [100 * _share(results, row, against) for row in rows]
    step, labels = 0.006 * (max(shares) - min(shares)), []
    for number, method in enumerate(methods):
        colour = SERIES[number % len(SERIES)]
        marker = MARKERS[(number + number // len(SERIES)) % len(MARKERS)]  # colours come twice
        aside = step * (number - (len(methods) - 1) / 2)  # intervals would hide each other
        points = sorted(
            (100 * _share(results, row, against) + aside, 100 * mean.value,
             100 * (mean.value - mean.low), 100 * (mean.high - mean.value), row.variant in best)
            for row in rows
            if row.label == method and (mean := row.averages[group])
        )  # fmt: skip
        if not points:
            continue
        x, y, low, high, marked = zip(*points, strict=True)
        axes.errorbar(
            x, y, yerr=(low, high), fmt=f"{marker}-", color=colour, linewidth=1.6, markersize=5,
            elinewidth=0.9, alpha=0.95,
        )  # fmt: skip
        for place in (n for n, on in enumerate(marked) if on):
            axes.plot(x[place], y[place], "o", markersize=11, mfc="none", mec=INK, mew=1.1)
        labels.append((y[-1], brief(short[method], 24), colour))
    axes.axhline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.margins(y=0.1)
    axes.set_xlabel(
        f"{_AXES[against]}, % (shifted a little aside)\n○ Pareto front; dashed: unpruned"
    )
    axes.set_ylabel("score, % of the unpruned model")
    end_labels(axes, axes.get_xlim()[1], labels)


def _dots(axes: Axes, rows: Sequence[VariantResult], group: str) -> None:
    found = [(row, mean) for row in rows[::-1] if (mean := row.averages[group])]
    several = len({row.budget for row, _ in found}) > 1
    for y, (_, mean) in enumerate(found):
        axes.plot([100 * mean.low, 100 * mean.high], [y, y], "-", color=MAIN, linewidth=1.6)
        axes.plot(100 * mean.value, y, "o", color=MAIN, markersize=5.5)
    axes.axvline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    labels = [f"{row.label}, {row.budget}" if several else row.label for row, _ in found]
    axes.set_yticks(range(len(found)), [brief(each) for each in labels])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("score, % of the unpruned model")


def _share(results: Results, row: VariantResult, against: Against) -> float:
    """What a variant costs, as a share of the unpruned model's cost."""
    whole = results.rows[0].tflops
    return row.retained.share if against == "tokens" or not whole else row.tflops / whole
