"""Two pictures of a plan: the capability curve it was made from, and the tokens it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from swiftprof.core.stages import BASE_LAYER, cut_layers
from swiftprof.drawing import (
    ACCENT,
    FAINT,
    INK,
    MAIN,
    SERIES,
    brief,
    canvas,
    end_labels,
    furnish,
    layer_ticks,
    plain,
)
from swiftprof.planning.curve import Curve, Normalize
from swiftprof.planning.plan_file import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DATASETS = tuple(colour for colour in SERIES if colour not in (MAIN, ACCENT))
_SCALES: Mapping[str, str] = {
    "relative": "capability x (1 = unpruned model)",
    "minmax": "capability x (lowest layer 0, highest 1)",
}
_NOMINAL = 10_000
"""Stands for the visual tokens where prompts differ in them."""


def plan_figure(
    curve: Curve,
    plan: Plan,
    per_dataset: Mapping[str, Curve] | None = None,
    normalize: Normalize = "relative",
) -> Figure:
    """A plan on the curve that it was made from, with the intervals of its stability."""
    keep, samples = plan.source.keep, plan.source.samples
    parts = [f"top {100 * keep:.3g} % of each layer"] if keep is not None else []
    parts += [f"{samples} samples"] if samples is not None else []
    title = plan.model.name + (f": {', '.join(parts)}" if parts else "")
    ends = (plan.stability and plan.stability.interval) or {}
    intervals = {int(layer): bounds for layer, bounds in ends.items()}
    return curve_figure(curve, plan.pruning_layers, per_dataset, intervals, title, normalize)


def curve_figure(
    curve: Curve,
    chosen: Sequence[int] = (),
    per_dataset: Mapping[str, Curve] | None = None,
    intervals: Mapping[int, tuple[float, float]] | None = None,
    title: str = "",
    normalize: Normalize = "relative",
) -> Figure:
    """A curve and a plan's layers, apart from pyplot's state.

    Args:
        curve: the combined capabilities.
        chosen: pruning layers, marked, with the step curve y(t) of eq. 6.
        per_dataset: data set -> its own curve, drawn thin.
        intervals: layer -> (low, high), drawn as a band.
        normalize: the scale of x, for the axis: "relative" draws the unpruned model at 1.
    """
    labels = []  # (value at the right end, text, colour)
    with plain():
        figure = canvas(9, 4.4)
        axes = figure.add_subplot()
        if intervals:
            layers = [layer for layer in curve.layers if layer in intervals]
            low, high = zip(*(intervals[layer] for layer in layers), strict=True)
            axes.fill_between(layers, low, high, color=MAIN, alpha=0.16, linewidth=0, zorder=1)
        if per_dataset and len(per_dataset) > 1:
            for number, (name, own) in enumerate(per_dataset.items()):
                colour = _DATASETS[number % len(_DATASETS)]
                axes.plot(own.layers, own.x, color=colour, linewidth=1, alpha=0.65, zorder=2)
                labels.append((float(own.x[-1]), brief(name, 20), colour))
        axes.plot(curve.layers, curve.x, "o-", color=MAIN, linewidth=2, markersize=4, zorder=4)
        combined = "mean of data sets" if labels else "capability"
        labels.append((float(curve.x[-1]), combined, MAIN))
        axes.set_xlim(1, curve.num_layers + 0.5)
        axes.margins(y=0.08)
        mark_layers(axes, curve.num_layers, chosen)
        if chosen:
            labels.append((_steps(axes, curve, chosen), "reached by the plan", ACCENT))
        if normalize == "relative":
            axes.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            labels.append((1.0, "unpruned model", INK))
        axes.set_ylabel(_SCALES[normalize])
        axes.set_xlabel("layer whose selection is used" + ("; orange: the plan's" * bool(chosen)))
        furnish(axes, title)
        end_labels(axes, curve.num_layers + 0.5, labels)
    return figure


def mark_layers(axes: Axes, num_layers: int, chosen: Sequence[int], most: int = 32) -> None:
    """Layer numbers below the axis, the chosen ones in the accent's colour."""
    ticks = sorted({*layer_ticks(num_layers, most), *chosen})
    axes.set_xticks(ticks)
    axes.tick_params(axis="x", labelsize=8 if len(ticks) > 16 else 10)
    for label, layer in zip(axes.get_xticklabels(), ticks, strict=True):
        if layer in chosen:
            label.set_color(ACCENT)
            label.set_fontweight("bold")


def _steps(axes: Axes, curve: Curve, chosen: Sequence[int]) -> float:
    """y(t), the capability reached so far, and a mark on every chosen layer; y(L)."""
    corners = [BASE_LAYER, *chosen, curve.num_layers]
    heights = [curve.at(layer) for layer in corners[:-1]]
    axes.step(corners, [*heights, heights[-1]], where="post", color=ACCENT, linewidth=1.6, zorder=3)
    axes.plot(chosen, heights[1:], "o", color=ACCENT, markersize=8, zorder=5)
    for layer, height in zip(chosen, heights[1:], strict=True):
        axes.plot([layer, layer], [axes.get_ylim()[0], height], ":", color=ACCENT, linewidth=1,
                  zorder=1, scaley=False)  # fmt: skip
    return heights[-1]


def schedule_figure(plan: Plan) -> Figure:
    """Visual tokens that enter each layer; shares in % where prompts differ in their number."""
    known, depth = plan.model.visual_tokens, plan.model.num_layers
    whole = known or 100
    counts = plan.tokens_per_layer(known or _NOMINAL)
    entering = [n if known else 100 * n / _NOMINAL for n in counts]
    with plain():
        figure = canvas(7.5, 2.9)
        axes = figure.add_subplot()
        edges = [layer + 0.5 for layer in range(depth + 1)]
        axes.stairs(entering, edges, baseline=None, color=MAIN, linewidth=2)
        axes.stairs(entering, edges, fill=True, color=MAIN, alpha=0.15)
        axes.axhline(whole, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_ylim(0, 1.06 * whole)
        axes.set_xlim(0.5, depth + 0.5)
        mark_layers(axes, depth, plan.pruning_layers)
        for cut, stage in zip(cut_layers(plan.stages, plan.first), plan.stages, strict=True):
            total = whole * (stage.keep + stage.merge)
            axes.annotate(f"{total:.0f}", (cut + 0.5, total), xytext=(4, 3), fontsize=8.5,
                          textcoords="offset points", color=FAINT)  # fmt: skip
        axes.set_xlabel("layer; orange: pruning layers")
        axes.set_ylabel("visual tokens that enter" + ("" if known else ", %"))
        furnish(axes)
        own = f"{brief(plan.method, 18)}: {sum(entering) / depth:.3g} on average"
        labels = [(entering[-1], own, MAIN), (whole, "unpruned model", INK)]
        end_labels(axes, depth + 0.5, labels, gap=0.08)
    return figure
