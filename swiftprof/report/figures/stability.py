"""How sure the plan is: layers of resampled plans, area against m, and how many samples suffice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftprof.analysis.stability import Data
from swiftprof.report.style import ACCENT, FAINT, INK, MAIN, canvas, furnish, layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(data: Data) -> Figure:
    """Two or three panels: frequencies, area against m, loss against samples."""
    figure = canvas(9.6 if data.sizes else 8, 3.9)
    panels = figure.subplots(1, 3 if data.sizes else 2)
    _frequency(panels[0], data)
    _budgets(panels[1], data)
    if data.sizes:
        _sizes(panels[2], data)
    return figure


def _frequency(axes: Axes, data: Data) -> None:
    for layer, share in ((int(i), s) for i, s in data.frequency.items()):
        chosen = layer in data.plan
        axes.bar(layer, 100 * share, color=ACCENT if chosen else FAINT, width=0.8)
        if chosen:
            axes.text(
                layer, 100 * share + 1.5, f"{layer}", ha="center", color=ACCENT, fontweight="bold"
            )
    axes.set_xlim(1, data.num_layers)
    axes.set_ylim(0, 112)
    axes.set_xticks(layer_ticks(data.num_layers, 8))
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_xlabel("layer (orange: in the plan)")
    axes.set_ylabel("chosen in resamples, %")
    furnish(axes, f"{data.replicates} resampled plans, m = {data.m}")


def _budgets(axes: Axes, data: Data) -> None:
    m = [0, *(b.m for b in data.budgets)]
    areas = [data.base, *(b.area for b in data.budgets)]
    axes.fill_between(
        m[1:], [b.low for b in data.budgets], [b.high for b in data.budgets],
        color=MAIN, alpha=0.18, linewidth=0,
    )  # fmt: skip
    axes.plot(m, areas, "o-", color=MAIN, linewidth=2, markersize=4)
    axes.annotate("layer 2 only", (0, data.base), xytext=(6, 0), textcoords="offset points",
                  va="center", fontsize=8.5)  # fmt: skip
    best = next(b for b in data.budgets if b.m == data.m)
    axes.plot([best.m], [best.area], "o", color=ACCENT, markersize=8)
    axes.annotate(
        f"m = {best.m}: {best.area:.3f}",
        (best.m, best.area),
        xytext=(0, -20),
        textcoords="offset points",
        ha="center" if 1 < best.m < m[-1] else "right" if best.m > 1 else "left",
        color=ACCENT,
        fontweight="bold",
    )
    axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(m[-1], 1, "unpruned model ", ha="right", va="bottom", fontsize=8.5)
    axes.set_xticks(m)
    axes.margins(y=0.12)
    axes.set_xlabel("pruning layers m, at most")
    axes.set_ylabel("best area P (mean capability)")
    furnish(axes, "Area against m")


def _sizes(axes: Axes, data: Data) -> None:
    size = [s.samples for s in data.sizes]
    axes.plot(size, [s.regret for s in data.sizes], "o-", color=MAIN, linewidth=2, markersize=4)
    axes.plot(size, [s.p95 for s in data.sizes], "s--", color=FAINT, linewidth=1.3, markersize=4)
    last = data.sizes[0]
    axes.annotate("95th percentile", (size[0], last.p95), xytext=(5, 4), fontsize=8.5, color=FAINT,
                  textcoords="offset points")  # fmt: skip
    axes.annotate("mean", (size[0], last.regret), xytext=(-2, 8), fontsize=8.5, color=MAIN,
                  textcoords="offset points", fontweight="bold")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(size)
    axes.set_xticklabels([str(s) for s in size])
    axes.minorticks_off()
    axes.set_ylim(0, 1.15 * max(s.p95 for s in data.sizes) or 1)
    axes.set_xlabel("samples of each data set")
    axes.set_ylabel("loss of area P")
    furnish(axes, "Plans from fewer samples")
