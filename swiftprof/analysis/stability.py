"""How sure is the plan? Resampled plans, and area against m."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import Analysis, BudgetOpt, SeedOpt, Subject, called
from swiftprof.analysis.document import Data, Description
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import Curve, bootstrap_curves, combine
from swiftprof.planning.plan_file import Stability
from swiftprof.planning.program import solve, solve_all
from swiftprof.planning.stability import plan_stability
from swiftprof.tables import Table, percent, samples_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from swiftprof.profiling.store import Profile


class Best(BaseModel):
    """The best plan with at most m pruning layers.

    Attributes:
        area: P, mean capability over layers 2..L (eq. 7).
        low, high: 95 % interval of the best P over resamples.
        same: share of resamples that give these layers.
    """

    model_config = ConfigDict(frozen=True)

    m: int
    layers: list[int]
    area: float
    low: float
    high: float
    same: float


class Resampled(Data):
    """What was measured.

    Attributes:
        base: capability of layer 2.
        stability: of the plan with m pruning layers, as its file has it.
        budgets: the best plan for every m that gains.
    """

    num_layers: int
    m: int
    profile: str
    base: float
    stability: Stability
    budgets: list[Best]

    @property
    def best(self) -> Best:
        """The plan in question."""
        return next(b for b in self.budgets if b.m == self.m)

    @classmethod
    def of(cls, profile: Profile, m: int = 3, *, replicates: int, seed: int = 0) -> Resampled:
        """Plan again on resamples of a profile's samples.

        Args:
            profile: its per-sample scores are all that is read.
            m: pruning layers.
            replicates: resamples.
            seed: of the resampling.
        """
        samples, layers, depth = profile.samples, profile.layers, profile.model.num_layers
        curve = Curve(depth, layers, combine(samples))
        span = max(1, depth - BASE_LAYER)
        most = max(m, 1, len(solve(curve, depth).layers))
        curves = bootstrap_curves(samples, replicates=replicates, seed=seed)
        found = solve_all(layers, depth, curves, most)
        budgets = []
        for k in range(1, most + 1):
            best = solve(curve, k)
            low, high = np.quantile([f.area(k) / span for f in found], [0.025, 0.975])
            budgets.append(
                Best(
                    m=k,
                    layers=list(best.layers),
                    area=round(best.performance, 6),
                    low=round(float(low), 6),
                    high=round(float(high), 6),
                    same=round(sum(f.layers(k) == best.layers for f in found) / len(found), 4),
                )
            )
        return cls(
            datasets={name: len(scores.vanilla) for name, scores in samples.items()},
            num_layers=depth,
            m=m,
            profile=called(profile),
            base=round(curve.at(BASE_LAYER), 6),
            stability=plan_stability(curves, layers, depth, budgets[m - 1].layers, m),
            budgets=budgets,
        )

    def describe(self) -> Description:
        best, found, last = self.best, self.stability, self.budgets[-1]
        sure = [
            f"{i} in {percent(s)}"
            for i, s in found.layer_frequency.items()
            if int(i) in best.layers
        ]
        regret, p95 = found.regret or 0.0, found.regret_p95 or 0.0
        findings = [
            f"{percent(best.same)} of {found.bootstrap} resamples give exactly the layers "
            f"{_list(best.layers)}; each layer alone is chosen more often: {', '.join(sure)}.",
            f"The plan loses {regret:.4f} of area P on average against the best plan of each "
            f"resample (95th percentile {p95:.4f})"
            + (": little." if p95 < 0.01 else ": profile more samples."),
        ]
        enough = next(b for b in self.budgets if last.area - b.area < 0.002)
        findings.append(
            f"With m = {enough.m} the plan reaches P = {enough.area:.4f}; all {last.m} layers that "
            f"gain anything reach {last.area:.4f}."
        )
        measured = (
            f"Scores stored in {self.profile} ({samples_text(self.datasets)}), resampled "
            f"{found.bootstrap} times with replacement within each data set and planned again by "
            "the same program."
        )
        budgets = Table(
            title="Best area P against the number of pruning layers m",
            columns=("m", "layers", "P", "95 % interval of the best P", "same in resamples"),
            rows=tuple(
                (str(b.m), _list(b.layers), f"{b.area:.4f}", f"{b.low:.4f}–{b.high:.4f}",
                 percent(b.same))
                for b in self.budgets
            ),
            left=(0, 1),
        )  # fmt: skip
        return Description(measured, tuple(findings), (budgets,))

    def draw(self) -> Figure:
        """Two panels: how often each layer is chosen, and area against m."""
        from swiftprof.drawing import canvas

        figure = canvas(8, 3.6)
        left, right = figure.subplots(1, 2)
        self._frequency(left)
        self._budgets(right)
        return figure

    def _frequency(self, axes: Axes) -> None:
        from swiftprof.drawing import ACCENT, FAINT, furnish
        from swiftprof.planning.drawing import mark_layers

        plan = self.best.layers
        for layer, share in self.stability.layer_frequency.items():
            axes.bar(int(layer), 100 * share, color=ACCENT if int(layer) in plan else FAINT)
        axes.set_xlim(1, self.num_layers + 0.5)
        axes.set_ylim(0, 105)
        mark_layers(axes, self.num_layers, plan, 8)
        axes.set_xlabel("layer (orange: in the plan)")
        axes.set_ylabel("chosen in resamples, %")
        furnish(axes, f"{self.stability.bootstrap} resampled plans, m = {self.m}")

    def _budgets(self, axes: Axes) -> None:
        from swiftprof.drawing import ACCENT, INK, MAIN, furnish

        m = [0, *(b.m for b in self.budgets)]
        areas = [self.base, *(b.area for b in self.budgets)]
        low, high = [b.low for b in self.budgets], [b.high for b in self.budgets]
        axes.fill_between(m[1:], low, high, color=MAIN, alpha=0.18, linewidth=0)
        axes.plot(m, areas, "o-", color=MAIN, linewidth=2, markersize=4)
        axes.plot([self.m], [self.best.area], "o", color=ACCENT, markersize=8)
        axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(m[-1], 1.005, "unpruned model ", ha="right", va="bottom", fontsize=8.5)
        axes.set_xticks(m)
        axes.margins(y=0.12)
        axes.set_xlabel("pruning layers m, at most (0: layer 2 only)")
        axes.set_ylabel("best area P (mean capability)")
        furnish(axes, f"P = {self.best.area:.3f} with m = {self.m}")


def _list(layers: list[int]) -> str:
    return ", ".join(map(str, layers))


@dataclass(frozen=True)
class StabilityAnalysis(Analysis):
    """How much of the plan is luck of the samples, and how many pruning layers pay?

    Reads a profile: nothing is run.
    """

    title: ClassVar[str] = "Stability of the plan"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze stability",
        "swiftprof analyze stability --budget 4",
    )
    data: ClassVar[type[Data]] = Resampled

    budget: BudgetOpt = 3
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=10, help="Resamples.")] = 1000
    seed: SeedOpt = 0

    def run(self, subject: Subject) -> Resampled:
        profile = subject.needed_profile
        return Resampled.of(profile, self.budget, replicates=self.bootstrap, seed=self.seed)


ANALYSIS = StabilityAnalysis
