"""Changes of bypassed tokens: a plane to look at, and distances in the full hidden size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swiftprof.analysis.alignment import Data, Setting, Step
from swiftprof.report.style import (
    ACCENT,
    FAINT,
    INK,
    MAIN,
    SERIES,
    canvas,
    furnish,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = len(SERIES) - 1
"""Groups with a colour of their own; further ones share grey."""


def draw(data: Data) -> Figure:
    """One row per number of merged tokens: the plane, cosines, errors."""
    figure = canvas(11, 3.9 * len(data.settings))
    rows = figure.subplots(len(data.settings), 3, squeeze=False, width_ratios=(1.35, 1, 1))
    for number, (panels, setting) in enumerate(zip(rows, data.settings, strict=True)):
        _plane(panels[0], setting, number == 0)
        step = setting.steps[0]
        _cosines(panels[1], step, number == 0)
        _errors(panels[2], step, number == 0)
    return figure


def _plane(axes: Axes, setting: Setting, first: bool) -> None:
    found, step = setting.example, setting.steps[0]
    sizes = np.bincount(found.group, minlength=len(found.means))
    order = np.argsort(-sizes, kind="stable")
    colours = [SERIES[-1]] * len(sizes)
    for place, group in enumerate(order[:_SHOWN]):
        colours[group] = SERIES[place]
    for (x, y), group in zip(found.tokens, found.group, strict=True):
        axes.plot(x, y, "o", color=colours[group], markersize=3.2, alpha=0.45, mew=0)
    for group, ((mx, my), (x, y)) in enumerate(zip(found.means, found.merged, strict=True)):
        axes.plot([mx, x], [my, y], "-", color=INK, linewidth=0.8, zorder=3)
        axes.plot(mx, my, "X", color=colours[group], markersize=8, mec=INK, mew=0.7, zorder=4)
        axes.plot(x, y, "*", color=colours[group], markersize=13, mec=INK, mew=0.7, zorder=5)
    if first:
        axes.text(
            0.01, 0.01, "● token   ✖ group mean (unpruned)   ★ merged token", fontsize=8,
            transform=axes.transAxes, va="bottom",
        )  # fmt: skip
    how = {"pca": "PCA of the tokens' changes", "tsne": "t-SNE"}[found.projection]
    if found.explained is not None:
        how += f", {100 * found.explained:.0f} % of the variance"
    axes.set_xlabel(how)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.08)
    furnish(
        axes,
        f"{len(found.means)} groups: change from layer {step.after} to {step.before}",
        grid="",
    )


def _cosines(axes: Axes, step: Step, first: bool) -> None:
    _distribution(
        axes,
        [
            (step.group_mean.cosine, "merged ↔ group mean", MAIN, "-"),
            (step.token.cosine, "merged ↔ token", ACCENT, "-"),
            (step.ideal.cosine, "group mean ↔ token", FAINT, "--"),
        ],
    )
    low = min(step.token.cosine[5], step.group_mean.cosine[5], 0.5)
    axes.set_xlim(max(-1.0, low), 1)
    axes.set_xlabel("cosine of the two changes (1 is best)")
    axes.set_ylabel("share with at most this, %")
    furnish(axes, "Direction, full hidden size" if first else "")


def _errors(axes: Axes, step: Step, first: bool) -> None:
    lines = [
        (step.group_mean.error, "merged ↔ group mean", MAIN, "-"),
        (step.token.error, "merged ↔ token", ACCENT, "-"),
        (step.ideal.error, "group mean ↔ token", FAINT, "--"),
    ]
    _distribution(axes, lines, low=True)
    axes.axvline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(0, max(1.12, step.token.error[97]))
    axes.text(1, 98, "no alignment ", rotation=90, va="top", ha="right", fontsize=8.5)
    axes.set_xlabel("length of the difference / change (0 is best)")
    furnish(axes, "Relative error, full hidden size" if first else "")


def _distribution(
    axes: Axes, lines: list[tuple[list[float], str, str, str]], low: bool = False
) -> None:
    """Cumulative distributions, named in the corner that they leave free: upper left, or lower
    right."""
    share = np.linspace(0, 100, len(lines[0][0]))
    for values, _, colour, style in lines:
        axes.plot(values, share, style, color=colour, linewidth=1.8)
    axes.set_ylim(0, 100)
    for number, (_, name, colour, _) in enumerate(lines):
        axes.text(
            0.97 if low else 0.03, (0.22 if low else 0.94) - 0.08 * number, name, color=colour,
            fontsize=8.5, transform=axes.transAxes, va="center", ha="right" if low else "left",
        )  # fmt: skip
