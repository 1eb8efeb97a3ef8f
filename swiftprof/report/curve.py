"""The capability curve as a picture: what each layer can tell apart, and where the plan prunes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import BASE_LAYER, Curve, Normalize
from swiftprof.planning.plan_file import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_figure", "draw_curve"]

# Okabe-Ito colours: told apart under every common colour blindness, and in grey print.
_CURVE = "#0072B2"
_PLAN = "#D55E00"
_DATASETS = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#7F7F7F")
_INK = "#333333"
_SCALES: Mapping[str, str] = {
    "relative": "capability x (1 = unpruned model)",
    "minmax": "capability x (lowest layer 0, highest 1)",
}


def draw_curve(
    curve: Curve,
    plan: Plan | None,
    path: str | Path,
    per_dataset: Mapping[str, Curve] | None = None,
    intervals: Mapping[int, tuple[float, float]] | None = None,
    title: str | None = None,
    normalize: Normalize = "relative",
) -> Path:
    """Draw a curve and its plan into a file; the suffix (.png, .svg, .pdf) says which kind.

    Args:
        curve: the combined capabilities.
        plan: its chosen layers are marked, with the step curve y(t) of eq. 6; None for the bare
            curve.
        path: the picture.
        per_dataset: data set -> its own curve, drawn thin.
        intervals: layer -> (low, high), drawn as a band; by default those of the plan's stability.
        title: by default the model's name.
        normalize: the scale of x, for the axis: "relative" draws the unpruned model at 1.

    Raises:
        SwiftprofError: the file cannot be written, or its suffix names no kind of picture.
    """
    path = Path(path)
    figure = curve_figure(curve, plan, per_dataset, intervals, title, normalize)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SwiftprofError(f"{path}: cannot draw: {first}; end it in .png or .svg") from error
    return path


def curve_figure(
    curve: Curve,
    plan: Plan | None = None,
    per_dataset: Mapping[str, Curve] | None = None,
    intervals: Mapping[int, tuple[float, float]] | None = None,
    title: str | None = None,
    normalize: Normalize = "relative",
) -> Figure:
    """The picture of `draw_curve` as a matplotlib figure of its own, apart from pyplot's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if intervals is None and plan is not None and plan.stability is not None:
        stored = plan.stability.interval or {}
        intervals = {int(layer): bounds for layer, bounds in stored.items()}
    if intervals:
        _band(axes, curve, intervals)
    labels = []  # (value at the right end, text, colour)
    if per_dataset and len(per_dataset) > 1:
        for number, (name, own) in enumerate(per_dataset.items()):
            colour = _DATASETS[number % len(_DATASETS)]
            axes.plot(own.layers, own.x, color=colour, linewidth=1, alpha=0.65, zorder=2)
            labels.append((float(own.x[-1]), name, colour))
    axes.plot(curve.layers, curve.x, "o-", color=_CURVE, linewidth=2, markersize=4, zorder=4)
    combined = "mean of data sets" if labels else "capability"
    labels.append((float(curve.x[-1]), combined, _CURVE))
    if plan is not None:
        _steps(axes, curve, plan.pruning_layers)
    if normalize == "relative":
        axes.axhline(1, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        labels.append((1.0, "unpruned model", _INK))
    axes.set_ylabel(_SCALES[normalize])
    _furnish(axes, curve, title if title is not None else plan.model.name if plan else "")
    _label_ends(axes, curve.num_layers, labels)
    return figure


def _band(axes: Axes, curve: Curve, intervals: Mapping[int, tuple[float, float]]) -> None:
    layers = [layer for layer in curve.layers if layer in intervals]
    low, high = zip(*(intervals[layer] for layer in layers), strict=True) if layers else ((), ())
    axes.fill_between(layers, low, high, color=_CURVE, alpha=0.16, linewidth=0, zorder=1)


def _steps(axes: Axes, curve: Curve, chosen: Sequence[int]) -> None:
    """y(t), the capability reached so far, and a mark on every chosen layer."""
    from matplotlib.patheffects import withStroke

    corners = [BASE_LAYER, *chosen, curve.num_layers]
    heights = [curve.at(layer) for layer in corners[:-1]]
    axes.step(corners, [*heights, heights[-1]], where="post", color=_PLAN, linewidth=1.6, zorder=3)
    points = [curve.at(layer) for layer in chosen]
    axes.plot(chosen, points, "o", color=_PLAN, markersize=8, zorder=5)
    halo = [withStroke(linewidth=3, foreground="white")]
    for layer, x in zip(chosen, points, strict=True):
        axes.annotate(
            f"layer {layer}",
            (layer, x),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=_PLAN,
            fontweight="bold",
            path_effects=halo,
            zorder=6,
        )
    if chosen:
        axes.annotate(
            "reached by the plan, y(t)",
            (curve.num_layers, heights[-1]),
            xytext=(-4, -12),
            textcoords="offset points",
            ha="right",
            color=_PLAN,
            fontsize=9,
            path_effects=halo,
            zorder=6,
        )


def _furnish(axes: Axes, curve: Curve, title: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold", color=_INK)
    axes.set_xlabel("layer whose selection is used (1 is the first)")
    axes.set_xlim(1, curve.num_layers + 0.5)
    axes.margins(y=0.12)
    step = max(1, round(curve.num_layers / 16))
    axes.set_xticks([layer for layer in range(1, curve.num_layers + 1) if layer % step == 0])
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _label_ends(axes: Axes, num_layers: int, labels: list[tuple[float, str, Any]]) -> None:
    """Names at the right ends of the lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    least = (high - low) * 0.05
    places = np.array([value for value, _, _ in sorted(labels, key=lambda label: label[0])])
    for _ in range(100):  # push neighbours apart by equal parts until all have room
        gaps = np.diff(places)
        tight = np.flatnonzero(gaps < least - 1e-9)
        if not len(tight):
            break
        for place in tight:
            push = max(0.0, (least - (places[place + 1] - places[place])) / 2)
            places[place] -= push
            places[place + 1] += push
    for place, (_, text, colour) in zip(places, sorted(labels, key=lambda x: x[0]), strict=True):
        bold = "bold" if colour == _CURVE else "normal"
        axes.annotate(
            text,
            (num_layers + 0.5, place),
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
            fontweight=bold,
            annotation_clip=False,
        )
