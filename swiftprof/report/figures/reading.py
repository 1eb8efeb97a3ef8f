"""Where visual tokens are read, and what each layer can do with how many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swiftprof.analysis.reading import Data
from swiftprof.report.style import (
    ACCENT,
    INK,
    MAIN,
    canvas,
    end_labels,
    furnish,
    layer_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(data: Data) -> Figure:
    """Left the score that is left, with what each layer reads; right capability by V."""
    figure = canvas(10.5, 3.9)
    left, right = figure.subplots(1, 2)
    _left(left, data)
    _capability(right, data)
    return figure


def _left(axes: Axes, data: Data) -> None:
    parts = np.diff(data.reading.read)
    layers = np.arange(1, data.num_layers + 1)
    shown = layers > data.layers[0]
    axes.bar(layers[shown], 100 * parts[shown], color=ACCENT, width=0.7)
    axes.fill_between(
        data.layers, 100 * np.array(data.low), 100 * np.array(data.high),
        color=MAIN, alpha=0.18, linewidth=0,
    )  # fmt: skip
    axes.plot(data.layers, 100 * np.array(data.left), "o-", color=MAIN, linewidth=2, markersize=4)
    axes.axhline(100, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    middle = data.layers[len(data.layers) // 2]
    axes.text(middle, 90, "left when they leave after it", color=MAIN, fontweight="bold",
              fontsize=9, va="top")  # fmt: skip
    axes.text(middle, 12, "read in it", color=ACCENT, fontweight="bold", fontsize=9)
    axes.set_ylim(0, 108)
    axes.set_xticks(layer_ticks(data.num_layers, 12))
    axes.set_xlabel("layer")
    axes.set_ylabel("score, % of the unpruned model")
    furnish(axes, "When visual tokens are read")


def _capability(axes: Axes, data: Data) -> None:
    layers = list(data.capability)
    tones = np.linspace(0.35, 1, len(data.shares))
    labels = []
    for place, (share, tone) in enumerate(zip(data.shares, tones, strict=True)):
        values = [data.capability[layer][place] for layer in layers]
        axes.plot(layers, values, "o-", color=MAIN, alpha=tone, linewidth=1.6, markersize=3)
        labels.append((values[-1], f"V = {100 * share:g} %", MAIN))
    axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xticks(layer_ticks(data.num_layers, 12))
    axes.set_xlabel("layer whose selection is used")
    axes.set_ylabel("capability x")
    end_labels(axes, layers[-1] + 0.3, labels)
    furnish(axes, "Capability by share kept")
