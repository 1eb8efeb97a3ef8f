"""Score against what it costs: one line a method, one point a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from swiftprof.drawing import INK, MARKERS, SERIES, brief, canvas, end_labels, furnish, plain
from swiftprof.errors import BadParameter
from swiftprof.evaluation.results import Results
from swiftprof.tables import flops_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cost = Literal["tokens", "flops"]


def score_figure(results: Results, against: Cost = "tokens") -> Figure:
    """The average over all data sets, with its interval, of every method.

    Args:
        against: retained visual tokens, or FLOPs of the prefill.

    Returns:
        A figure apart from pyplot's state. Where the unpruned model scores 0 nothing is relative to
        it, and only the axes are drawn.

    Raises:
        BadParameter: against something else.
    """
    if against not in get_args(Cost):
        raise BadParameter("against", against, "must be tokens or flops")
    unit, scaled = flops_unit(results.rows[0].tflops)
    group = "overall"
    vanilla, *pruned = results.rows
    lines: dict[str, list[tuple[float, ...]]] = {}
    for row in pruned:
        if found := row.averages.get(group):
            cost = row.retained.mean if against == "tokens" else float(scaled(row.tflops))
            scores = (100 * each for each in (found.value, found.low, found.high))
            lines.setdefault(row.label, []).append((cost, *scores))
    with plain():
        figure = canvas(6.5, 3.6)
        axes = figure.add_subplot()
        score_lines(axes, lines)
        axes.set_xlabel(
            f"retained visual tokens ({vanilla.retained.mean:.4g} unpruned)"
            if against == "tokens"
            else f"{unit} of the prefill ({scaled(vanilla.tflops)} unpruned)"
        )
        furnish(axes, f"{results.settings.model.name}: {', '.join(results.groups[group])}")
    return figure


def score_lines(axes: Axes, lines: Mapping[str, Sequence[tuple[float, ...]]]) -> None:
    """A line a method, a point a budget; the first method's in the main colour.

    Args:
        lines: method -> (cost, score, low, high) of its budgets, scores in % of the unpruned model.
    """
    labels = []
    for number, (method, points) in enumerate(lines.items()):
        x, y, low, high = np.array(sorted(points)).T
        colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
        axes.errorbar(
            x, y, yerr=(y - low, high - y), fmt=f"{marker}-", color=colour, linewidth=1.6,
            markersize=5, elinewidth=0.9, alpha=0.95,
        )  # fmt: skip
        labels.append((float(y[-1]), brief(method, 24), colour))
    axes.axhline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.margins(y=0.1)
    axes.set_ylabel("score, % of the unpruned model")
    end_labels(axes, axes.get_xlim()[1], labels)
