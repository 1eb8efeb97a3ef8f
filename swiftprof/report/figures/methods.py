"""Methods of an evaluation side by side: a dot and an interval for each budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftprof.analysis.pareto import Data
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.table import NAMES
from swiftprof.report.style import INK, MARKERS, SERIES, brief, canvas, furnish

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(data: Data) -> Figure:
    """A panel per group of data sets, a row per method."""
    methods = [m for m in dict.fromkeys(p.method for p in data.points) if m != VANILLA]
    budgets = list(dict.fromkeys(p.budget for p in data.points if p.method != VANILLA))
    groups = list(data.groups)
    height = 1.4 + 0.27 * max(2, len(methods)) * max(1, min(len(budgets), 3))
    figure = canvas(2.4 + 2.9 * len(groups), height)
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    key = 0.38 * len(budgets) if len(budgets) > 1 else 0.5  # room for the names of budgets
    step = 0.62 / max(1, len(budgets))
    for panel, group in zip(panels, groups, strict=True):
        for point in data.points:
            if point.method == VANILLA or group not in point.averages:
                continue
            place = budgets.index(point.budget)
            colour = SERIES[place % len(SERIES)]
            row = len(methods) - 1 - methods.index(point.method)
            y = row + step * ((len(budgets) - 1) / 2 - place)
            value, low, high = (100 * v for v in point.averages[group])
            panel.plot([low, high], [y, y], "-", color=colour, linewidth=1.6)
            panel.plot(value, y, MARKERS[place % len(MARKERS)], color=colour, markersize=5.5)
        panel.axvline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        panel.set_yticks(range(len(methods)))
        panel.set_yticklabels([brief(m) for m in reversed(methods)])
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(-0.6 - key, len(methods) - 0.4)
        panel.set_xlabel("score, % of the unpruned model")
        furnish(panel, NAMES.get(group, group), grid="x")
    for place, budget in enumerate(budgets):
        marker = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}.get(
            MARKERS[place % len(MARKERS)], "●"
        )
        panels[0].annotate(
            f"{marker} {brief(budget)}", (0.02, 0.02 + 0.0 * place), xycoords="axes fraction",
            xytext=(0, 12 * (len(budgets) - 1 - place)), textcoords="offset points", fontsize=8.5,
            color=SERIES[place % len(SERIES)], va="bottom",
        )  # fmt: skip
    return figure
