"""How good is the plan? Measured scores of the planned layers and of other sets at the same cost.

Every set of as many layers that the token budget allows is a rival; a seeded draw of them, or all,
answer the same held-out samples. The planner's objective P (eq. 7) is then compared with what was
measured, by rank correlation over the drawn sets, the plan left out, as it was chosen by P.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import AtBudget, Subject, budget_text
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import percent, signed, spearman, spearman_interval
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from swiftprof.analysis.layer_sets import Measured
    from swiftprof.evaluation.statistics import Scores
    from swiftprof.planning.curve import Curve
    from swiftprof.planning.plan_file import Plan

WEAK = 0.3  # a rank correlation below this is said to predict badly


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
    difference: tuple[float, float, float] | None = None


class Plans(Data):
    """What was measured.

    Attributes:
        possible: sets of this size that the budget allows.
        beaten: share of drawn sets that the plan beats (ties count half).
        best: the set with the best score, and `best_honest`: what the best set of one half of the
            samples scores on the other half, averaged over both ways; `planned_honest`: the plan on
            the same samples.
        correlation: Spearman's, of P and the scores of the drawn sets, with its 95 % interval; None
            where all P or all scores are equal.
        ceiling: about the largest correlation that the noise of the scores allows: from the
            correlation r of the scores on the two halves of the samples, sqrt(2r / (1 + r)).
    """

    num_layers: int
    m: int
    retain: str
    method: str
    possible: int
    results: list[Result]
    beaten: float
    best: list[int]
    best_honest: float
    planned_honest: float
    correlation: tuple[float, float, float] | None
    ceiling: float | None

    @property
    def planned(self) -> Result:
        return self.results[0]

    @property
    def drawn(self) -> list[Result]:
        return [r for r in self.results if r.kind == "drawn"]

    def describe(self) -> Description:
        plan, values = self.planned, [r.relative for r in self.drawn]
        gap = self.best_honest - self.planned_honest
        findings = [
            f"The planned layers {_list(plan.layers)} keep {percent(plan.relative, 1)} of the "
            f"unpruned score; {len(values)} other sets at the same cost (of {self.possible} "
            f"possible) keep {percent(min(values), 1)} to {percent(max(values), 1)}, "
            f"{percent(float(np.median(values)), 1)} in the middle. The plan beats "
            f"{percent(self.beaten)} of them.",
            f"The best set found is {_list(self.best)}. Chosen on one half of the samples and "
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
            if each.kind == "equal depths" and each.difference is not None:
                gain, low, high = (-v for v in each.difference)
                findings.append(
                    f"Against the same number of layers at equal depths, {_list(each.layers)}, the "
                    f"plan gains {signed(gain)} points [{signed(high)}, {signed(low)}]."
                )
        measured = (
            f"Greedy answers to {samples_text(self.datasets)}, the same for all sets; {self.m} "
            f"pruning layers, {self.retain} retained on average, method {self.method}. Score: mean "
            "over data sets, relative to the unpruned model. P is from the profile, whose samples "
            "are not these."
        )
        return Description(measured, tuple(findings), (self._table(),))

    def _table(self) -> Table:
        ranked = sorted(self.results, key=lambda r: -r.relative)
        shown = ranked[:10] + [r for r in ranked[10:] if r.kind != "drawn"]
        sets = list(self.datasets)
        return Table(
            title="The best sets, and the plan",
            columns=("layers", *sets, "relative", "to the plan [95 %]", "P", "kept at the end", ""),
            rows=tuple(
                (
                    _list(r.layers),
                    *(f"{r.scores[n]:.3f}" for n in sets),
                    percent(r.relative, 1),
                    _paired(r),
                    f"{r.area:.4f}",
                    percent(r.kept, 1),
                    "" if r.kind == "drawn" else r.kind,
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
            if r.kind == "equal depths":
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
        from swiftprof.analysis.layer_sets import answer_with
        from swiftprof.methods import method_class

        if self.sets != "all" and not (self.sets.isdecimal() and int(self.sets) > 0):
            raise BadParameter("sets", self.sets[:60], "must be a number above 0, or all")
        if not method_class(self.method).planned:
            raise BadParameter(
                "method",
                self.method,
                "prunes at its own layers; name one that is planned, as swiftvlm",
            )
        sampling, plans, kinds, possible = self.sampling(subject), *self.rivals(subject)
        with subject.progress("answering with each layer set") as step:
            found = answer_with(sampling, plans, subject.folder / "plans-answers", progress=step)
        return summed(found, plans, kinds, subject.curve, self.method, possible)

    def rivals(self, subject: Subject) -> tuple[dict[str, Plan], dict[str, str], int]:
        """The plan first, then its rivals; their kinds; how many sets the budget allows."""
        from swiftprof.methods.depths import equal_depths
        from swiftprof.planning.budget import feasible_sets
        from swiftprof.planning.fill import Setting

        (plan,) = self.plans(subject, self.method).values()
        layers, depth = plan.pruning_layers, subject.curve.num_layers
        n_visual = subject.cost.tokens
        retain = self.target().target.retain or (self.target().target.ratio or 0) * n_visual
        rule = Setting.of(self.method).method
        possible = feasible_sets(depth, len(layers), n_visual, retain, rule)
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
        kinds = {layers: "planned"}
        if equal in possible and equal != layers:
            kinds[equal] = "equal depths"
        plans = {_list(layers): plan}
        for each in dict.fromkeys([*kinds, *rivals]):
            if each != layers:
                spec = f"{self.method}@{'+'.join(map(str, each))}"
                (plans[_list(each)],) = self.plans(subject, spec).values()
        return plans, {_list(each): kind for each, kind in kinds.items()}, len(possible)


def summed(
    found: Measured,
    plans: Mapping[str, Plan],
    kinds: Mapping[str, str],
    curve: Curve,
    method: str,
    possible: int,
) -> Plans:
    """What the answers say of each set; the plan is the first of `plans`."""
    from swiftprof.core.stages import BASE_LAYER
    from swiftprof.planning.program import area

    planned, span = next(iter(plans)), max(1, curve.num_layers - BASE_LAYER)

    def area_of(layers: Sequence[int]) -> float:
        found = area(curve.layers, curve.num_layers, curve.x[None], layers)[0]
        return round(float(found / span), 6)

    results = [
        Result(
            layers=list(plan.pruning_layers),
            kind=kinds.get(name, "drawn"),
            area=area_of(plan.pruning_layers),
            kept=plan.stages[-1].keep,
            relative=round(found.relative(name), 6),
            scores={n: round(float(s.mean()), 6) for n, s in found.scores[name].items()},
            difference=None
            if name == planned
            else _difference(found.scores[name], found.scores[planned], found.vanilla),
        )
        for name, plan in plans.items()
    ]
    drawn = [_list(r.layers) for r in results if r.kind == "drawn"]
    scores = np.array([found.relative(each) for each in drawn])
    mine = found.relative(planned)
    order = max(range(len(results)), key=lambda n: (results[n].relative, -n))
    honest = []
    for half in (0, 1):
        best = max(plans, key=lambda each: found.relative(each, half))
        honest.append((found.relative(best, 1 - half), found.relative(planned, 1 - half)))
    halves = spearman(*([found.relative(each, half) for each in drawn] for half in (0, 1)))
    return Plans(
        datasets={name: len(each) for name, each in found.vanilla.items()},
        skipped=found.skipped,
        num_layers=curve.num_layers,
        m=len(plans[planned].pruning_layers),
        retain=budget_text(plans[planned]),
        method=method,
        possible=possible,
        results=results,
        beaten=round(float(np.mean((scores < mine) + 0.5 * (scores == mine))), 4),
        best=results[order].layers,
        best_honest=round(float(np.mean([a for a, _ in honest])), 6),
        planned_honest=round(float(np.mean([b for _, b in honest])), 6),
        correlation=spearman_interval([r.area for r in results if r.kind == "drawn"], scores),
        ceiling=None
        if halves is None
        else round(float(np.sqrt(max(0.0, 2 * halves / max(1e-9, 1 + halves)))), 4),
    )


def _difference(mine: Scores, theirs: Scores, vanilla: Scores) -> tuple[float, float, float] | None:
    from swiftprof.evaluation.statistics import compare_paired

    found = compare_paired(mine, theirs, vanilla, permutations=1)
    if found is None:
        return None
    d = found.difference
    return round(d.value, 6), round(d.low, 6), round(d.high, 6)


def _paired(result: Result) -> str:
    if result.difference is None:
        return "–"
    value, low, high = result.difference
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


ANALYSIS = PlansAnalysis
