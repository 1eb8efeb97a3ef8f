"""Distribution and mean of the overlap with the unpruned model's selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swiftprof.analysis.numbers import percent
from swiftprof.analysis.overlap import Data, Overlap
from swiftprof.report.style import INK, SERIES, brief, canvas, furnish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDEST = 0.42


def draw(data: Data) -> Figure:
    """A panel per data set, a row per method and top share: the samples, the mean, its interval."""
    names = list(data.datasets)
    rows = sorted(data.overlaps, key=lambda o: o.top)
    figure = canvas(2.2 + 2.9 * len(names), 1.3 + 0.62 * len(rows))
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True, sharex=True)[0]
    methods = list(dict.fromkeys(o.method for o in rows))
    colours = {m: SERIES[n % len(SERIES)] for n, m in enumerate(_ordered(methods, data.reference))}
    for panel, name in zip(panels, names, strict=True):
        for place, each in enumerate(rows):
            _row(panel, len(rows) - 1 - place, each, name, colours[each.method])
        panel.set_xlim(-3, 109)
        panel.set_xticks([0, 25, 50, 75, 100])
        panel.set_yticks(range(len(rows)))
        panel.set_yticklabels([f"{brief(o.method)}, top {percent(o.top)}" for o in reversed(rows)])
        panel.set_ylim(-0.6, len(rows) - 0.4)
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel("left of the top tokens, %")
        kept = 100 * rows[0].kept
        panel.annotate("random", (kept, len(rows) - 1 + _WIDEST), xytext=(3, -2), fontsize=8.5,
                       textcoords="offset points", va="top")  # fmt: skip
        furnish(panel, f"{brief(name, 20)} ({data.datasets[name]} samples)", grid="x")
    return figure


def _ordered(methods: list[str], reference: str) -> list[str]:
    return [reference, *(m for m in methods if m != reference)]


def _row(axes: Axes, y: float, each: Overlap, name: str, colour: str) -> None:
    """A histogram of the samples standing on the row, the mean below it."""
    values = 100 * np.array(each.per_dataset[name])
    counts, edges = np.histogram(values, bins=20, range=(0, 100))
    heights = _WIDEST * counts / max(1, counts.max())
    axes.bar(
        edges[:-1], heights, width=np.diff(edges), bottom=y, align="edge", color=colour, alpha=0.35,
        linewidth=0,
    )  # fmt: skip
    mean = each.mean[name]
    axes.plot([100 * mean.low, 100 * mean.high], [y, y], "-", color=colour, linewidth=4, zorder=3)
    axes.plot(100 * mean.value, y, "o", color=colour, markersize=6, mec=INK, mew=0.6, zorder=4)
    axes.annotate(
        f"{100 * mean.value:.0f}", (100 * mean.value, y), xytext=(0, -7), fontsize=8.5, ha="center",
        va="top", textcoords="offset points", color=colour, fontweight="bold",
    )  # fmt: skip
    axes.plot([100 * each.kept] * 2, [y - 0.1, y + _WIDEST], ":", color=INK, linewidth=1)
