"""How sure is the plan? Resampled plans, area against m, and how many samples are enough."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import Analysis, Subject
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import Curve, SampleScores, combine, normalise
from swiftprof.planning.program import area, solve, solve_all
from swiftprof.planning.stability import bootstrap_curves
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from swiftprof.profiling.store import Profile

Floats = NDArray[np.float64]

SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000)
"""Samples a set for which the plan is made again, as far as the profile has more."""
SHOWN_SETS = 10


class Budget(BaseModel):
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


class Size(BaseModel):
    """Plans from fewer samples, judged by the curve of all.

    Attributes:
        samples: of each data set.
        regret: mean loss of P against the plan from all samples.
        p95: 95th percentile of that loss.
    """

    model_config = ConfigDict(frozen=True)

    samples: int
    regret: float
    p95: float


class Resampled(Data):
    """What was measured.

    Attributes:
        frequency: layer -> share of resamples whose plan prunes there, at the budget m.
        sets: most frequent plans of resamples with their shares, best first.
        regret: mean loss of P by the plan against the best plan of each resample.
    """

    num_layers: int
    m: int
    plan: list[int]
    replicates: int
    profile: str
    base: float
    frequency: dict[str, float]
    sets: list[tuple[list[int], float]]
    regret: float
    regret_p95: float
    budgets: list[Budget]
    sizes: list[Size]

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
        plan = solve(curve, m).layers
        budgets = []
        for k in range(1, most + 1):
            best = solve(curve, k)
            low, high = np.quantile([f.area(k) / span for f in found], [0.025, 0.975])
            budgets.append(
                Budget(
                    m=k,
                    layers=list(best.layers),
                    area=round(best.performance, 6),
                    low=round(float(low), 6),
                    high=round(float(high), 6),
                    same=round(sum(f.layers(k) == best.layers for f in found) / len(found), 4),
                )
            )
        plans = [f.layers(m) for f in found]
        counts = Counter(plans)
        areas = np.array([f.area(m) for f in found])
        regret = (areas - area(layers, depth, curves, plan)) / span
        return cls(
            datasets={name: len(scores.vanilla) for name, scores in samples.items()},
            num_layers=depth,
            m=m,
            plan=list(plan),
            replicates=len(curves),
            profile=str(profile.path),
            base=round(curve.at(BASE_LAYER), 6),
            frequency={
                str(layer): share
                for layer in layers
                if (share := round(sum(layer in each for each in plans) / len(plans), 4))
            },
            sets=[(list(s), n / len(curves)) for s, n in counts.most_common(SHOWN_SETS)],
            regret=round(float(regret.mean()), 6),
            regret_p95=round(float(np.quantile(regret, 0.95)), 6),
            budgets=budgets,
            sizes=_sizes(samples, curve, plan, m, replicates, seed),
        )

    def describe(self) -> Description:
        same = next((share for layers, share in self.sets if layers == self.plan), 0.0)
        plan = ", ".join(map(str, self.plan))
        sure = [f"{i} in {percent(s)}" for i, s in self.frequency.items() if int(i) in self.plan]
        findings = [
            f"{percent(same)} of {self.replicates} resamples give exactly the layers {plan}; "
            f"each layer alone is chosen more often: {', '.join(sure)}.",
            f"The plan loses {self.regret:.4f} of area P on average against the best plan of each "
            f"resample (95th percentile {self.regret_p95:.4f})"
            + (": little." if self.regret_p95 < 0.01 else ": profile more samples."),
        ]
        enough = next((b for b in self.budgets if self.budgets[-1].area - b.area < 0.002), None)
        if enough is not None:
            findings.append(
                f"With m = {enough.m} the plan reaches P = {enough.area:.4f}; all "
                f"{self.budgets[-1].m} layers that gain anything reach "
                f"{self.budgets[-1].area:.4f}."
            )
        measured = (
            f"Scores stored in {self.profile} ({samples_text(self.datasets)}), resampled "
            f"{self.replicates} times with replacement within each data set and planned again by "
            "the same program."
        )
        return Description(measured, tuple(findings), tuple(self._tables()))

    def _tables(self) -> list[Table]:
        tables = [
            Table(
                title="Best area P against the number of pruning layers m",
                columns=("m", "layers", "P", "95 % interval of the best P", "same in resamples"),
                rows=tuple(
                    (
                        str(b.m),
                        ", ".join(map(str, b.layers)),
                        f"{b.area:.4f}",
                        f"{b.low:.4f}–{b.high:.4f}",
                        percent(b.same),
                    )
                    for b in self.budgets
                ),
                left=(0, 1),
            ),
            Table(
                title=f"Most frequent plans with m = {self.m}",
                columns=("layers", "resamples"),
                rows=tuple((", ".join(map(str, s)), percent(n, 1)) for s, n in self.sets),
            ),
        ]
        if self.sizes:
            tables.append(
                Table(
                    title="Plans from fewer samples, judged by the curve of all",
                    columns=("samples a set", "mean loss of P", "95th percentile"),
                    rows=tuple(
                        (str(s.samples), f"{s.regret:.4f}", f"{s.p95:.4f}") for s in self.sizes
                    ),
                    note="Drawn without replacement; the judging curve contains the drawn samples.",
                )
            )
        return tables

    def draw(self) -> Figure:
        """Two or three panels: frequencies, area against m, loss against samples."""
        from swiftprof.drawing import canvas

        figure = canvas(10.5 if self.sizes else 8, 3.6)
        panels = figure.subplots(1, 3 if self.sizes else 2)
        self._frequency(panels[0])
        self._budgets(panels[1])
        if self.sizes:
            self._draw_sizes(panels[2])
        return figure

    def _frequency(self, axes: Axes) -> None:
        from swiftprof.drawing import ACCENT, FAINT, furnish
        from swiftprof.planning.drawing import mark_layers

        for layer, share in ((int(i), s) for i, s in self.frequency.items()):
            axes.bar(layer, 100 * share, color=ACCENT if layer in self.plan else FAINT, width=0.8)
        axes.set_xlim(1, self.num_layers + 0.5)
        axes.set_ylim(0, 105)
        mark_layers(axes, self.num_layers, self.plan, 8)
        axes.set_xlabel("layer (orange: in the plan)")
        axes.set_ylabel("chosen in resamples, %")
        furnish(axes, f"{self.replicates} resampled plans, m = {self.m}")

    def _budgets(self, axes: Axes) -> None:
        from swiftprof.drawing import ACCENT, INK, MAIN, furnish

        m = [0, *(b.m for b in self.budgets)]
        areas = [self.base, *(b.area for b in self.budgets)]
        low, high = [b.low for b in self.budgets], [b.high for b in self.budgets]
        axes.fill_between(m[1:], low, high, color=MAIN, alpha=0.18, linewidth=0)
        axes.plot(m, areas, "o-", color=MAIN, linewidth=2, markersize=4)
        best = next(b for b in self.budgets if b.m == self.m)
        axes.plot([best.m], [best.area], "o", color=ACCENT, markersize=8)
        axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(m[-1], 1.005, "unpruned model ", ha="right", va="bottom", fontsize=8.5)
        axes.set_xticks(m)
        axes.margins(y=0.12)
        axes.set_xlabel("pruning layers m, at most (0: layer 2 only)")
        axes.set_ylabel("best area P (mean capability)")
        furnish(axes, f"P = {best.area:.3f} with m = {best.m}")

    def _draw_sizes(self, axes: Axes) -> None:
        from swiftprof.drawing import FAINT, MAIN, furnish

        size = [s.samples for s in self.sizes]
        p95, mean = [s.p95 for s in self.sizes], [s.regret for s in self.sizes]
        axes.plot(
            size, p95, "s--", color=FAINT, linewidth=1.3, markersize=4, label="95th percentile"
        )
        axes.plot(size, mean, "o-", color=MAIN, linewidth=2, markersize=4, label="mean")
        axes.legend(frameon=False, fontsize=8.5)
        axes.set_xscale("log")
        axes.set_xticks(size)
        axes.set_xticklabels([str(s) for s in size])
        axes.minorticks_off()
        axes.set_ylim(0, 1.15 * max(p95) or 1)
        axes.set_xlabel("samples of each data set")
        axes.set_ylabel("loss of area P")
        furnish(axes, "Plans from fewer samples")


def subsampled_curves(
    samples: Mapping[str, SampleScores], size: int, replicates: int, seed: int
) -> Floats:
    """Curves of `size` samples of each set, drawn without replacement: (B, C), B <= replicates.

    A draw in which some unpruned score is not above 0 has no relative curve and is left out.
    """
    curves, usable = [], np.ones(replicates, dtype=bool)
    for name in sorted(samples):
        scores = samples[name]
        random = np.random.default_rng([seed, size, zlib.crc32(name.encode())])
        keys = random.random((replicates, len(scores.vanilla)))
        chosen = np.argpartition(keys, size - 1, axis=1)[:, :size]
        vanilla = scores.vanilla[chosen].mean(1)
        usable &= vanilla > 0
        reruns = scores.reruns[chosen].mean(1)
        curves.append(normalise(reruns, np.where(vanilla > 0, vanilla, 1.0), "relative"))
    drawn: Floats = np.mean(curves, axis=0)[usable]
    return drawn


def _sizes(
    samples: Mapping[str, SampleScores],
    curve: Curve,
    plan: tuple[int, ...],
    m: int,
    replicates: int,
    seed: int,
) -> list[Size]:
    least = min(len(scores.vanilla) for scores in samples.values())
    span = max(1, curve.num_layers - BASE_LAYER)

    def of(layers: tuple[int, ...]) -> float:
        return float(area(curve.layers, curve.num_layers, curve.x[None], layers)[0])

    out = []
    for size in (s for s in SIZES if s < least):
        curves = subsampled_curves(samples, size, min(200, replicates), seed)
        if not len(curves):
            continue
        programs = solve_all(curve.layers, curve.num_layers, curves, m)
        loss = np.array([of(plan) - of(f.layers(m)) for f in programs]) / span
        p95 = round(float(np.quantile(loss, 0.95)), 6)
        out.append(Size(samples=size, regret=round(float(loss.mean()), 6), p95=p95))
    return out


@dataclass(frozen=True)
class Stability(Analysis):
    """How much of the plan is luck of the samples, and how many pruning layers pay?

    Reads a profile: nothing is run.
    """

    title: ClassVar[str] = "Stability of the plan"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze stability",
        "swiftprof analyze stability --budget 4",
    )
    data: ClassVar[type[Data]] = Resampled

    budget: Annotated[int, typer.Option("--budget", help="Pruning layers, at most.")] = 3
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=10, help="Resamples.")] = 1000
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the resampling.")] = 0

    def run(self, subject: Subject) -> Resampled:
        profile = subject.needed_profile
        return Resampled.of(profile, self.budget, replicates=self.bootstrap, seed=self.seed)


ANALYSIS = Stability
