"""All pairs of layers as a heat map: whose best tokens are in whose bottom half."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swiftprof.analysis.numbers import percent
from swiftprof.analysis.ranks import Data
from swiftprof.report.style import ACCENT, FAINT, INK, canvas, furnish, layer_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(data: Data) -> Figure:
    """The heat map, with the paper's block framed; beside it what one row of it means."""
    from matplotlib.patches import Rectangle

    depth = data.num_layers
    figure = canvas(9, 5)
    axes, mean = figure.subplots(1, 2, width_ratios=(1.35, 1))
    values = 100 * np.array(data.buried)
    image = axes.imshow(
        values,
        origin="lower",
        extent=(0.5, depth + 0.5, 0.5, depth + 0.5),
        cmap="cividis",
        vmin=0,
        vmax=max(50.0, float(values.max())),
        interpolation="nearest",
    )
    (e0, e1), (l0, l1) = data.early, data.late
    axes.add_patch(
        Rectangle(
            (l0 - 0.5, e0 - 0.5), l1 - l0 + 1, e1 - e0 + 1, fill=False, edgecolor=ACCENT, lw=2
        )
    )
    axes.set_xlabel(f"layer whose top {percent(data.high)} is looked for")
    axes.set_ylabel(f"layer whose bottom {percent(data.low)} is searched")
    ticks = layer_ticks(depth, 12)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    furnish(axes, "Top tokens found in the bottom half", grid="")
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("share of the top tokens, %")
    bar.outline.set_visible(False)

    late = values[:, l0 - 1 : l1].mean(1)
    layers = np.arange(1, depth + 1)
    mean.plot(layers[l0 - 2 :], late[l0 - 2 :], "o-", color=FAINT, linewidth=1.2, markersize=3)
    mean.plot(layers[: l0 - 1], late[: l0 - 1], "o-", color=ACCENT, linewidth=2, markersize=4)
    mean.axhline(100 * data.low, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    top = max(60.0, float(late.max()) * 1.15)
    mean.text(depth, top, f"dashed: unrelated rankings, {percent(data.low)}", ha="right", va="top",
              fontsize=9)  # fmt: skip
    mean.axvspan(l0 - 0.5, l1 + 0.5, color=ACCENT, alpha=0.1, linewidth=0)
    mean.text((l0 + l1) / 2, 0.6, f"layers {l0}–{l1}", ha="center", color=ACCENT, fontsize=9)
    mean.set_ylim(0, top)
    mean.set_xlim(1, depth)
    mean.set_xticks(ticks)
    mean.set_xlabel("layer that drops its bottom half")
    mean.set_ylabel(f"lost of layers {l0}–{l1}'s top {percent(data.high)}, %")
    furnish(mean, "What dropping half would lose")
    return figure
