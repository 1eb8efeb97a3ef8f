"""Capability of every layer: all data sets together, and each with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swiftprof.analysis.curve import Data, Line
from swiftprof.planning.curve import Curve
from swiftprof.report.curve import draw_on
from swiftprof.report.style import INK, MAIN, brief, canvas, furnish, layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3


def draw(data: Data) -> Figure:
    """The combined curve with its plan above, small multiples of the data sets below."""
    names = list(data.per_dataset)
    rows = -(-len(names) // _COLUMNS) if len(names) > 1 else 0
    figure = canvas(9, 4.6 + 2.3 * rows)
    top, *below = figure.subfigures(
        1 + (rows > 0), 1, height_ratios=(4.6, 2.3 * rows) if rows else None, squeeze=False
    )[:, 0]
    found = data.combined
    ends = dict(zip(data.layers, zip(found.low, found.high, strict=True), strict=True))
    title = f"Mean of {len(names)} data sets" if len(names) > 1 else names[0]
    axes = top.add_subplot()
    draw_on(axes, _curve(data, found), data.plan or None, None, ends, title)
    if rows:
        columns = min(_COLUMNS, len(names))
        panels = below[0].subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, name in zip(panels.flat, names, strict=False):
            _small(panel, data, name)
        for panel in list(panels.flat)[len(names) :]:
            panel.set_visible(False)
        for row in panels:
            row[0].set_ylabel("capability x")
        for number in range(columns):
            last = max(n for n in range(number, len(names), columns))
            panels.flat[last].set_xlabel("layer")
    return figure


def _small(axes: Axes, data: Data, name: str) -> None:
    line = data.per_dataset[name]
    axes.fill_between(data.layers, line.low, line.high, color=MAIN, alpha=0.18, linewidth=0)
    axes.plot(data.layers, line.x, "-", color=MAIN, linewidth=1.6)
    best = data.layers[line.best]
    axes.plot([best], [line.x[line.best]], "o", color=MAIN, markersize=5)
    axes.annotate(
        f"best: layer {best}",
        (best, line.x[line.best]),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center" if 0.2 < best / data.num_layers < 0.8 else "right" if best > 4 else "left",
        fontsize=8.5,
        color=MAIN,
    )
    axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xticks(layer_ticks(data.num_layers, 8))
    axes.margins(y=0.18)
    furnish(axes, f"{brief(name, 20)} ({line.samples} samples)")


def _curve(data: Data, line: Line) -> Curve:
    return Curve(data.num_layers, tuple(data.layers), np.array(line.x))
