"""Score against retained tokens, one line per method, the front outlined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftprof.analysis.pareto import Data, Point
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.table import NAMES
from swiftprof.report.style import (
    FAINT,
    INK,
    MAIN,
    MARKERS,
    SERIES,
    brief,
    canvas,
    end_labels,
    furnish,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(data: Data) -> Figure:
    """A panel per group of data sets."""
    groups = list(data.groups)
    figure = canvas(4.6 * len(groups) + 0.6, 4.6)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    names = [m for m in dict.fromkeys(p.method for p in data.points) if m != VANILLA]
    names.sort(key=lambda m: m != "swiftvlm")  # it has the main colour, the others their order
    looks = {m: (_colour(n), MARKERS[n % len(MARKERS)]) for n, m in enumerate(names)}
    for panel, group in zip(panels, groups, strict=True):
        _panel(panel, data, group, looks)
    panels[0].set_ylabel("score, % of the unpruned model")
    return figure


def _colour(number: int) -> str:
    """Colours come again where there are many methods, but the first one's does not."""
    return SERIES[number if number < len(SERIES) else 1 + (number - 1) % (len(SERIES) - 1)]


def _panel(axes: Axes, data: Data, group: str, looks: dict[str, tuple[str, str]]) -> None:
    labels = []
    pruned = [100 * p.share for p in data.points if p.method != VANILLA]
    span = max(pruned) - min(pruned) if pruned else 1
    step = 0.006 * (span or 1)  # at one budget, intervals would hide each other
    aside = {m: step * (n - (len(looks) - 1) / 2) for n, m in enumerate(looks)}
    for method, (colour, marker) in looks.items():
        mine = sorted(_of(data, method, group), key=lambda p: p.share)
        if not mine:
            continue
        x = [100 * p.share + aside[method] for p in mine]
        y = [100 * p.averages[group][0] for p in mine]
        low, high = (
            [abs(100 * p.averages[group][i] - v) for p, v in zip(mine, y, strict=True)]
            for i in (1, 2)
        )
        axes.errorbar(
            x, y, yerr=(low, high), fmt=f"{marker}-", color=colour, linewidth=1.6, markersize=5.5,
            elinewidth=0.9, alpha=0.95,
        )  # fmt: skip
        labels.append((y[-1], brief(method), colour))
    front = sorted((p for p in data.points if group in p.on_front), key=lambda p: p.share)
    axes.plot(
        [100 * p.share + aside.get(p.method, 0.0) for p in front],
        [100 * p.averages[group][0] for p in front],
        "o", markersize=11, mfc="none", mec=INK, mew=1.1, zorder=5,
    )  # fmt: skip
    vanilla = _of(data, VANILLA, group)
    if vanilla:
        axes.axhline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.text(0.5, 100, "unpruned model", va="bottom", ha="center", fontsize=8.5,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    right = max(pruned) + 0.08 * span + 1
    axes.set_xlim(min(pruned) - 0.08 * span - 1, right)
    axes.margins(y=0.1)
    end_labels(axes, right, labels, bold=MAIN, gap=0.052)
    axes.set_xlabel("retained visual tokens, % (shifted a little aside)")
    furnish(axes, NAMES.get(group, group))
    if front:
        axes.text(0.99, 0.02, "○ on the Pareto front", ha="right", fontsize=8.5, color=FAINT,
                  transform=axes.transAxes)  # fmt: skip


def _of(data: Data, method: str, group: str) -> list[Point]:
    return [p for p in data.points if p.method == method and group in p.averages]
