"""Measured scores of layer sets against the planner's objective, and where the plan stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftprof.analysis.plans import Data
from swiftprof.report.style import ACCENT, FAINT, INK, MAIN, canvas, furnish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(data: Data) -> Figure:
    """Score against P, the distribution of scores, and rank correlations."""
    figure = canvas(11, 4.1)
    cloud, spread, predictors = figure.subplots(1, 3, width_ratios=(1.3, 0.9, 1))
    _cloud(cloud, data)
    _spread(spread, data)
    _predictors(predictors, data)
    return figure


def _cloud(axes: Axes, data: Data) -> None:
    drawn, plan = data.drawn, data.planned
    axes.plot(
        [r.area for r in drawn], [100 * r.relative for r in drawn], "o", color=MAIN, alpha=0.55,
        markersize=5, mew=0,
    )  # fmt: skip
    for r in data.results:
        if r.kind == "equal depths":
            axes.plot(r.area, 100 * r.relative, "s", color=INK, markersize=7)
            _name(axes, r.area, r.relative, "equal depths", INK, -13)
    axes.plot(plan.area, 100 * plan.relative, "*", color=ACCENT, markersize=16, mec=INK, mew=0.6)
    _name(axes, plan.area, plan.relative, "plan " + ", ".join(map(str, plan.layers)), ACCENT, 9)
    axes.set_xlabel("objective P (mean capability, from the profile)")
    axes.set_ylabel("measured score, % of the unpruned model")
    axes.margins(0.1)
    rho = data.objectives[0].spearman
    furnish(
        axes, f"{len(drawn)} layer sets, Spearman ρ = " + ("–" if rho is None else f"{rho:+.2f}")
    )


def _name(axes: Axes, x: float, y: float, text: str, colour: str, up: float) -> None:
    low, high = axes.get_xlim()
    right = x > (low + high) / 2
    axes.annotate(
        text, (x, 100 * y), xytext=(-6 if right else 6, up), textcoords="offset points",
        ha="right" if right else "left", color=colour, fontweight="bold", fontsize=9,
    )  # fmt: skip


def _spread(axes: Axes, data: Data) -> None:
    values = [100 * r.relative for r in data.drawn]
    axes.hist(values, bins=min(20, max(5, len(values) // 3)), orientation="horizontal", color=MAIN,
              alpha=0.55, linewidth=0)  # fmt: skip
    mine = 100 * data.planned.relative
    axes.axhline(mine, color=ACCENT, linewidth=2)
    axes.annotate(
        f"plan: above {100 * data.beaten:.0f} %", (0.98, mine), xycoords=("axes fraction", "data"),
        xytext=(0, 4), textcoords="offset points", ha="right", color=ACCENT, fontweight="bold",
        fontsize=9,
    )  # fmt: skip
    axes.set_xlabel("layer sets")
    axes.set_ylabel("measured score, %")
    axes.margins(y=0.1)
    furnish(axes, "Where the plan stands", grid="x")


def _predictors(axes: Axes, data: Data) -> None:
    found = [o for o in data.objectives if o.spearman is not None]
    for place, each in enumerate(reversed(found)):
        rho = each.spearman or 0.0
        colour = ACCENT if each.name == data.objectives[0].name else FAINT
        if each.low is not None and each.high is not None:
            axes.plot([each.low, each.high], [place, place], "-", color=colour, linewidth=2)
        axes.plot(rho, place, "o", color=colour, markersize=7)
        axes.annotate(f"{rho:+.2f}", (rho, place), xytext=(0, 7), textcoords="offset points",
                      ha="center", fontsize=8.5, color=colour)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.9)
    if data.ceiling is not None and data.ceiling > 0:
        axes.axvline(data.ceiling, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(data.ceiling, len(found) - 0.42, "limit by noise ", ha="right", fontsize=8.5)
    axes.set_yticks(range(len(found)))
    axes.set_yticklabels([o.name for o in reversed(found)])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(found) - 0.1)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel("Spearman ρ with the measured score")
    furnish(axes, "What predicts the score", grid="x")
