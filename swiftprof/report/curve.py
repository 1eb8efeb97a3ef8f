"""The capability curve as a picture: what each layer can tell apart, and where the plan prunes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swiftprof.core.stages import BASE_LAYER
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import Curve, Normalize
from swiftprof.planning.plan_file import Plan
from swiftprof.report.style import (
    ACCENT,
    INK,
    MAIN,
    SERIES,
    canvas,
    end_labels,
    furnish,
    halo,
    layer_ticks,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DATASETS = tuple(colour for colour in SERIES if colour not in (MAIN, ACCENT))
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
        with plain():
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
    if intervals is None and plan is not None and plan.stability is not None:
        stored = plan.stability.interval or {}
        intervals = {int(layer): bounds for layer, bounds in stored.items()}
    with plain():
        figure = canvas(9, 4.8)
        draw_on(
            figure.add_subplot(),
            curve,
            plan.pruning_layers if plan is not None else None,
            per_dataset,
            intervals,
            title if title is not None else plan.model.name if plan else "",
            normalize,
        )
    return figure


def draw_on(
    axes: Axes,
    curve: Curve,
    chosen: Sequence[int] | None = None,
    per_dataset: Mapping[str, Curve] | None = None,
    intervals: Mapping[int, tuple[float, float]] | None = None,
    title: str = "",
    normalize: Normalize = "relative",
) -> None:
    """Draw a curve, its plan's layers and the curves of data sets on axes."""
    if intervals:
        _band(axes, curve, intervals)
    labels = []  # (value at the right end, text, colour)
    if per_dataset and len(per_dataset) > 1:
        for number, (name, own) in enumerate(per_dataset.items()):
            colour = _DATASETS[number % len(_DATASETS)]
            axes.plot(own.layers, own.x, color=colour, linewidth=1, alpha=0.65, zorder=2)
            labels.append((float(own.x[-1]), name, colour))
    axes.plot(curve.layers, curve.x, "o-", color=MAIN, linewidth=2, markersize=4, zorder=4)
    combined = "mean of data sets" if labels else "capability"
    labels.append((float(curve.x[-1]), combined, MAIN))
    if chosen is not None:
        _steps(axes, curve, chosen)
    if normalize == "relative":
        axes.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        labels.append((1.0, "unpruned model", INK))
    axes.set_ylabel(_SCALES[normalize])
    axes.set_xlabel("layer whose selection is used (1 is the first)")
    axes.set_xlim(1, curve.num_layers + 0.5)
    axes.margins(y=0.12)
    axes.set_xticks(layer_ticks(curve.num_layers))
    furnish(axes, title)
    end_labels(axes, curve.num_layers + 0.5, labels, bold=MAIN)


def _band(axes: Axes, curve: Curve, intervals: Mapping[int, tuple[float, float]]) -> None:
    layers = [layer for layer in curve.layers if layer in intervals]
    low, high = zip(*(intervals[layer] for layer in layers), strict=True) if layers else ((), ())
    axes.fill_between(layers, low, high, color=MAIN, alpha=0.16, linewidth=0, zorder=1)


def _steps(axes: Axes, curve: Curve, chosen: Sequence[int]) -> None:
    """y(t), the capability reached so far, and a mark on every chosen layer."""
    corners = [BASE_LAYER, *chosen, curve.num_layers]
    heights = [curve.at(layer) for layer in corners[:-1]]
    axes.step(corners, [*heights, heights[-1]], where="post", color=ACCENT, linewidth=1.6, zorder=3)
    points = [curve.at(layer) for layer in chosen]
    axes.plot(chosen, points, "o", color=ACCENT, markersize=8, zorder=5)
    for layer, x in zip(chosen, points, strict=True):
        axes.annotate(
            f"layer {layer}",
            (layer, x),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=ACCENT,
            fontweight="bold",
            path_effects=halo(),
            zorder=6,
        )
    if chosen:
        axes.annotate(
            "reached by the plan, y(t)",
            (curve.num_layers, heights[-1]),
            xytext=(-4, 5),
            textcoords="offset points",
            ha="right",
            color=ACCENT,
            fontsize=9,
            path_effects=halo(),
            zorder=6,
        )
