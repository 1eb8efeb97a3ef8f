"""How good is the plan? Measured scores of the planned layers and of other sets at the same cost.

Every set of as many layers that the token budget allows is a rival; a seeded draw of them, or all,
answer the same held-out samples. The planner's objective P (eq. 7) is then compared with what was
measured, by rank correlation over the drawn sets, the plan left out, as it was chosen by P.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import AtBudget, Subject, budget_text
from swiftprof.analysis.correlation import spearman, spearman_interval
from swiftprof.analysis.document import Data, Description
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.tables import Table, percent, samples_text, signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from swiftprof.evaluation.statistics import Scores
    from swiftprof.planning.curve import Curve
    from swiftprof.planning.plan_file import Plan

Interval = tuple[float, float, float]
"""A value and the ends of its 95 % interval."""
WEAK = 0.3
"""A rank correlation below this is said to predict badly."""
PLANNED, EQUAL, DRAWN = "planned", "equal depths", "drawn"


class Result(BaseModel):
    """One set of layers, measured.

    Attributes:
        kind: planned, equal depths, or drawn.
        kept: kept tokens of the last stage as a share of all.
        relative: mean over data sets of score / unpruned model's score.
        difference: to the planned set, paired; with its 95 % interval.
    """

    model_config = ConfigDict(frozen=True)

    layers: list[int]
    kind: str
    area: float
    kept: float
    relative: float
    scores: dict[str, float]
    difference: Interval | None = None


class Plans(Data):
    """What was measured.

    Attributes:
        possible: sets of this size that the budget allows.
        results: the plan first.
        best_honest: what the best set of one half of the samples scores on the other half, averaged
            over both ways; `planned_honest`: the plan on the same samples.
        correlation: Spearman's, of P and the scores of the drawn sets, with its 95 % interval; None
            where all P or all scores are equal.
        ceiling: about the largest correlation that the noise of the scores allows: from the
            correlation r of the scores on the two halves of the samples, sqrt(2r / (1 + r)).
    """

    retain: str
    method: str = ""
    possible: int = 0
    results: list[Result]
    best_honest: float
    planned_honest: float
    correlation: Interval | None
    ceiling: float | None

    @property
    def planned(self) -> Result:
        return self.results[0]

    @property
    def drawn(self) -> list[Result]:
        return [r for r in self.results if r.kind == DRAWN]

    @property
    def beaten(self) -> float:
        """Share of drawn sets that the plan beats; ties count half."""
        scores, mine = np.array([r.relative for r in self.drawn]), self.planned.relative
        return float(np.mean((scores < mine) + 0.5 * (scores == mine)))

    def describe(self) -> Description:
        plan, values = self.planned, [r.relative for r in self.drawn]
        gap = self.best_honest - self.planned_honest
        best = max(self.results, key=lambda r: r.relative)
        findings = [
            f"The planned layers {_list(plan.layers)} keep {percent(plan.relative, 1)} of the "
            f"unpruned score; {len(values)} other sets at the same cost (of {self.possible} "
            f"possible) keep {percent(min(values), 1)} to {percent(max(values), 1)}, "
            f"{percent(float(np.median(values)), 1)} in the middle. The plan beats "
            f"{percent(self.beaten)} of them.",
            f"The best set found is {_list(best.layers)}. Chosen on one half of the samples and "
            f"scored on the other, the best set keeps {percent(self.best_honest, 1)}, the plan "
            f"{percent(self.planned_honest, 1)}: "
            + (
                "searching these by measurement finds nothing better than the plan."
                if gap <= 0
                else f"searching these by measurement gains {signed(gap)} points."
            ),
            self._prediction(),
        ]
        for each in self.results:
            if each.kind == EQUAL and each.difference is not None:
                gain, low, high = (signed(-v) for v in each.difference)
                findings.append(
                    f"Against the same number of layers at equal depths, {_list(each.layers)}, the "
                    f"plan gains {gain} points [{high}, {low}]."
                )
        measured = (
            f"Greedy answers to {samples_text(self.datasets)}, the same for all sets; "
            f"{len(plan.layers)} pruning layers, {self.retain} retained on average, method "
            f"{self.method}. Score: mean over data sets, relative to the unpruned model. P is from "
            "the profile, whose samples are not these."
        )
        return Description(measured, tuple(findings), (self._table(),))

    def _table(self) -> Table:
        ranked = sorted(self.results, key=lambda r: -r.relative)
        shown = ranked[:10] + [r for r in ranked[10:] if r.kind != DRAWN]
        sets = list(self.datasets)
        return Table(
            title="The best sets, and the plan",
            columns=("layers", *sets, "relative", "to the plan [95 %]", "P", "kept at the end", ""),
            rows=tuple(
                (
                    _list(r.layers),
                    *(f"{r.scores[n]:.3f}" for n in sets),
                    percent(r.relative, 1),
                    "{} [{}, {}]".format(*map(signed, r.difference)) if r.difference else "–",
                    f"{r.area:.4f}",
                    percent(r.kept, 1),
                    "" if r.kind == DRAWN else r.kind,
                )
                for r in shown
            ),
            note="The best of many sets is also the luckiest: see the finding on halves.",
        )

    def _prediction(self) -> str:
        if self.correlation is None:
            return "All drawn sets score the same, or have the same P: nothing to predict here."
        rho, low, high = self.correlation
        ceiling = "" if self.ceiling is None else f" (noise allows about {self.ceiling:.2f})"
        said = (
            "it does not predict their scores beyond chance"
            if low <= 0
            else "it predicts their scores badly"
            if rho < WEAK
            else "sets with a larger P do score higher"
        )
        return (
            f"The planner's objective P ranks the drawn sets with Spearman ρ = {rho:+.2f} "
            f"[{low:+.2f}, {high:+.2f}]{ceiling}: {said}."
        )

    def draw(self) -> Figure:
        """Score against P, with the distribution of scores at the side."""
        from swiftprof.drawing import ACCENT, INK, MAIN, canvas, furnish

        figure = canvas(9, 4.2)
        cloud, side = figure.subplots(1, 2, width_ratios=(2.4, 1), sharey=True)
        drawn, plan = self.drawn, self.planned
        scores = [100 * r.relative for r in drawn]
        cloud.plot([r.area for r in drawn], scores, "o", color=MAIN, alpha=0.5, markersize=4.5,
                   mew=0, label=f"other layers ({len(drawn)} of {self.possible - 1})")  # fmt: skip
        for r in self.results:
            if r.kind == EQUAL:
                cloud.plot(r.area, 100 * r.relative, "s", color=INK, markersize=7,
                           label=f"equal depths {_list(r.layers)}")  # fmt: skip
        cloud.plot(plan.area, 100 * plan.relative, "*", color=ACCENT, markersize=16, mec=INK,
                   mew=0.6, label=f"the plan {_list(plan.layers)}")  # fmt: skip
        cloud.legend(frameon=False, fontsize=8.5, loc="lower right")
        cloud.set_xlabel("objective P (mean capability, from the profile)")
        cloud.set_ylabel("measured score, % of the unpruned model")
        cloud.margins(0.08)
        rho = "–" if self.correlation is None else f"{self.correlation[0]:+.2f}"
        furnish(cloud, f"Does P tell? Spearman ρ = {rho}")
        side.hist(scores, bins=min(24, max(5, len(scores) // 3)), orientation="horizontal",
                  color=MAIN, alpha=0.5, linewidth=0)  # fmt: skip
        side.axhline(100 * plan.relative, color=ACCENT, linewidth=2)
        side.set_xlabel("layer sets")
        furnish(side, f"The plan beats {percent(self.beaten)}", grid="x")
        return figure


@dataclass(frozen=True)
class PlansAnalysis(AtBudget):
    """Do the planned layers beat other layers at the same cost, and does the objective tell?

    Answers the same samples with the plan, with as many layers at equal depths, and with other
    layer sets that the budget allows: a draw of them, or all. Finished parts are kept: after an
    interruption the same command goes on where it stopped.
    """

    title: ClassVar[str] = "How good the plan is"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze plans",
        "swiftprof analyze plans --sets all --samples 100",
    )
    data: ClassVar[type[Data]] = Plans

    sets: Annotated[
        str, typer.Option("--sets", help="Layer sets to measure beside the plan, or all.")
    ] = "60"
    method: Annotated[str, typer.Option("--method", help="A method that is planned.")] = "swiftvlm"

    def run(self, subject: Subject) -> Plans:
        from swiftprof.analysis.answered import Together, relative_sets
        from swiftprof.evaluation.answer import VANILLA
        from swiftprof.evaluation.settings import VariantSettings
        from swiftprof.methods import method_class

        if self.sets != "all" and not (self.sets.isdecimal() and int(self.sets) > 0):
            raise BadParameter("sets", self.sets[:60], "must be a number above 0, or all")
        if not method_class(self.method).planned:
            raise BadParameter(
                "method",
                self.method,
                "prunes at its own layers; name one that is planned, as swiftvlm",
            )
        plans, kinds, possible = self.rivals(subject)
        done = self.answers(subject, [VariantSettings.of(n, "", p) for n, p in plans.items()])
        same = Together.of(done, relative_sets(done.results))
        scores = same.scores
        found = summed(scores, scores[VANILLA], plans, kinds, subject.needed_profile.curve)
        return found.model_copy(
            update={"skipped": same.skipped, "method": self.method, "possible": possible}
        )

    def rivals(self, subject: Subject) -> tuple[dict[str, Plan], dict[str, str], int]:
        """The plan first, then its rivals; their kinds; how many sets the budget allows."""
        from swiftprof.methods.depths import equal_depths
        from swiftprof.planning.budget import feasible_sets
        from swiftprof.planning.fill import Setting

        (plan,) = self.plans(subject, self.method).values()
        layers, cost, target = plan.pruning_layers, subject.cost, self.target().target
        depth = cost.model.num_layers
        retain = target.retain or (target.ratio or 0) * cost.tokens
        rule = Setting.of(self.method).method
        possible = feasible_sets(depth, len(layers), cost.tokens, retain, rule)
        rivals = [each for each in possible if each != layers]
        if not rivals:
            raise SwiftprofError(
                f"plan: no other {len(layers)} layers are possible with {retain:g} retained "
                "tokens; retain more"
            )
        if self.sets != "all" and int(self.sets) < len(rivals):
            random.Random(f"layer sets/{self.seed}").shuffle(rivals)  # more sets begin with these
            rivals = rivals[: int(self.sets)]
        equal = equal_depths(layers[0], len(layers), depth)
        kinds = {layers: PLANNED}
        if equal in possible and equal != layers:
            kinds[equal] = EQUAL
        specs = [f"{self.method}@{'+'.join(map(str, each))}" for each in [*kinds, *rivals]]
        plans = {_list(p.pruning_layers): p for p in self.plans(subject, ",".join(specs)).values()}
        return plans, {_list(each): kind for each, kind in kinds.items()}, len(possible)


def summed(
    scores: Mapping[str, Scores],
    vanilla: Scores,
    plans: Mapping[str, Plan],
    kinds: Mapping[str, str],
    curve: Curve,
) -> Plans:
    """What the scores say of each set; the plan is the first of `plans`."""
    from swiftprof.core.stages import BASE_LAYER
    from swiftprof.evaluation.statistics import compare_paired
    from swiftprof.planning.program import area

    mine, span = scores[next(iter(plans))], max(1, curve.num_layers - BASE_LAYER)
    parts = (slice(None), slice(0, None, 2), slice(1, None, 2))  # all samples, and two halves
    relative = np.array(
        [
            [np.mean([scores[p][n][part].mean() / base[part].mean() for n, base in vanilla.items()])
             for part in parts]
            for p in plans
        ]
    )  # fmt: skip
    results = []
    for number, (name, plan) in enumerate(plans.items()):
        found = area(curve.layers, curve.num_layers, curve.x[None], plan.pruning_layers)[0]
        compared = compare_paired(scores[name], mine, vanilla, permutations=1) if number else None
        change = compared.difference if compared is not None else None
        results.append(
            Result(
                layers=list(plan.pruning_layers),
                kind=kinds.get(name, DRAWN),
                area=round(float(found / span), 6),
                kept=plan.stages[-1].keep,
                relative=round(float(relative[number, 0]), 6),
                scores={n: round(float(s.mean()), 6) for n, s in scores[name].items()},
                difference=(change.value, change.low, change.high) if change else None,
            )
        )
    drawn = [number for number, result in enumerate(results) if result.kind == DRAWN]
    bests = [(relative[:, one].argmax(), other) for one, other in ((1, 2), (2, 1))]
    halves = spearman(*relative[drawn, 1:].T)
    noise = None if halves is None else max(0.0, 2 * halves / max(1e-9, 1 + halves))
    return Plans(
        datasets={name: len(each) for name, each in vanilla.items()},
        retain=budget_text(next(iter(plans.values()))),
        results=results,
        best_honest=float(np.mean([relative[best, other] for best, other in bests])),
        planned_honest=float(np.mean(relative[0, 1:])),
        correlation=spearman_interval(
            [results[n].area for n in drawn], [results[n].relative for n in drawn]
        ),
        ceiling=None if noise is None else float(np.sqrt(noise)),
    )


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


ANALYSIS = PlansAnalysis
