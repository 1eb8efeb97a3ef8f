"""How good is the plan? Measured scores of the planned layers and of other sets at the same cost.

Every set of as many layers that the token budget allows is a rival; a seeded draw of them, or all,
answer the same held-out samples. The planner's objective P (eq. 7) is then compared with what was
measured, by rank correlation over the drawn sets, the plan left out, as it was chosen by P.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.budget import budget_text
from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.layer_sets import Measured, answer_with
from swiftprof.analysis.numbers import percent, signed
from swiftprof.analysis.objectives import OBJECTIVES, Objective, ceiling, correlate
from swiftprof.analysis.sampling import Progress
from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.statistics import Scores, compare_paired
from swiftprof.methods.depths import equal_depths
from swiftprof.models.loading import VLM
from swiftprof.planning.budget import feasible_sets
from swiftprof.planning.curve import Curve
from swiftprof.planning.fill import DEFAULT_RATIO, Cost, Setting, fill_plan
from swiftprof.planning.plan_file import Plan
from swiftprof.planning.reading import Reading

WEAK = 0.3
"""A rank correlation below this is said to predict badly."""


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


class Data(BaseModel):
    """What was measured.

    Attributes:
        possible: sets of this size that the budget allows.
        exhaustive: all of them were measured.
        beaten: share of drawn sets that the plan beats (ties count half).
        best: the set with the best score, and `best_honest`: what the best set of one half of the
            samples scores on the other half, averaged over both ways; `planned_honest`: the plan on
            the same samples.
        ceiling: about the largest correlation that the noise of the scores allows: from the
            correlation r of the scores on the two halves of the samples, sqrt(2r / (1 + r)).
    """

    model_config = ConfigDict(frozen=True)

    num_layers: int
    m: int
    retain: str
    method: str
    datasets: dict[str, int]
    vanilla: dict[str, float]
    possible: int
    exhaustive: bool
    results: list[Result]
    beaten: float
    best: list[int]
    best_honest: float
    planned_honest: float
    ceiling: float | None
    objectives: list[Objective]
    skipped: dict[str, int] = {}

    @property
    def planned(self) -> Result:
        return self.results[0]

    @property
    def drawn(self) -> list[Result]:
        return [r for r in self.results if r.kind == "drawn"]


def measure(
    vlm: VLM,
    datasets: Sequence[Dataset],
    plan: Plan,
    curve: Curve,
    cost: Cost,
    setting: Setting,
    folder: Path,
    *,
    reading: Reading | None = None,
    sets: int | None,
    samples: int,
    seed: int = 0,
    split: str | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Data:
    """Measure the plan, its size at equal depths, and rivals, on the same samples.

    Args:
        plan: the plan; its layers and budget are the ones to beat.
        curve: capabilities that the plan was made from.
        cost: the model's sizes.
        setting: the method and how its stages are filled, the same for all sets.
        reading: judges the objective Q too.
        folder: where answers are kept; finished parts are not made again.
        sets: rivals to draw; None for all.
        samples: of each data set.
        progress: called with (sample-set pairs done, in all).

    Raises:
        SwiftprofError: a data set cannot be used, or no other set is possible.
    """
    layers = plan.pruning_layers
    depth, m, n_visual = curve.num_layers, len(layers), cost.tokens
    asked = plan.budget.ratio if plan.budget is not None else None
    retain = (asked or DEFAULT_RATIO) * n_visual
    possible = feasible_sets(depth, m, n_visual, retain, setting.method)
    rivals = [each for each in possible if each != layers]
    if not rivals:
        raise SwiftprofError(
            f"plan: no other {m} layers are possible with {retain:g} retained tokens; retain more"
        )
    if sets is not None and sets < len(rivals):
        random.Random(f"layer sets/{seed}").shuffle(rivals)  # more sets begin with these
        rivals = rivals[:sets]
    equal = equal_depths(layers[0], m, depth)
    kinds = {layers: "planned"}
    if equal in possible and equal != layers:
        kinds[equal] = "equal depths"
    wanted = [*kinds, *(each for each in rivals if each not in kinds)]
    plans = {each: fill_plan(each, retain, cost, setting) for each in wanted}
    found = answer_with(vlm, datasets, plans, folder, samples, seed, split, batch_size, progress)
    return _summed(found, plans, kinds, curve, setting, len(possible), reading)


def _summed(
    found: Measured,
    plans: Mapping[tuple[int, ...], Plan],
    kinds: Mapping[tuple[int, ...], str],
    curve: Curve,
    setting: Setting,
    possible: int,
    reading: Reading | None,
) -> Data:
    planned = next(iter(plans))
    results = []
    for layers, plan in plans.items():
        kept = plan.stages[-1].keep
        results.append(
            Result(
                layers=list(layers),
                kind=kinds.get(layers, "drawn"),
                area=round(OBJECTIVES["area P"][1](curve, layers, kept), 6),
                kept=kept,
                relative=round(found.relative(layers), 6),
                scores={n: round(float(s.mean()), 6) for n, s in found.scores[layers].items()},
                difference=_difference(found.scores[layers], found.scores[planned], found.vanilla)
                if layers != planned
                else None,
            )
        )
    drawn = [tuple(r.layers) for r in results if r.kind == "drawn"]
    scores = np.array([found.relative(each) for each in drawn])
    mine = found.relative(planned)
    order = max(range(len(results)), key=lambda n: (results[n].relative, -n))
    honest = []
    for half in (0, 1):
        best = max(plans, key=lambda each: found.relative(each, half))
        honest.append((found.relative(best, 1 - half), found.relative(planned, 1 - half)))
    return Data(
        num_layers=curve.num_layers,
        m=len(planned),
        retain=budget_text(plans[planned]),
        method=setting.name,
        datasets={name: len(each) for name, each in found.vanilla.items()},
        vanilla={name: round(float(each.mean()), 6) for name, each in found.vanilla.items()},
        possible=possible,
        exhaustive=len({*plans}) >= possible,
        results=results,
        beaten=round(float(np.mean((scores < mine) + 0.5 * (scores == mine))), 4),
        best=results[order].layers,
        best_honest=round(float(np.mean([a for a, _ in honest])), 6),
        planned_honest=round(float(np.mean([b for _, b in honest])), 6),
        skipped=found.skipped,
        ceiling=ceiling(*([found.relative(each, half) for each in drawn] for half in (0, 1))),
        objectives=[
            correlate(
                name, meaning, [rank(curve, s, plans[s].stages[-1].keep) for s in drawn], scores
            )
            for name, (meaning, rank) in OBJECTIVES.items()
        ]
        + (
            [
                correlate(
                    "read area Q",
                    "capability at the kept share, layers weighted by what is read in them",
                    [reading.expected(plans[s].stages) for s in drawn],
                    scores,
                )
            ]
            if reading is not None
            else []
        ),
    )


def _difference(mine: Scores, theirs: Scores, vanilla: Scores) -> tuple[float, float, float] | None:
    found = compare_paired(mine, theirs, vanilla, permutations=1)
    if found is None:
        return None
    d = found.difference
    return round(d.value, 6), round(d.low, 6), round(d.high, 6)


def describe(data: Data) -> Description:
    """How good the plan is, in words, also when it is not."""
    plan, drawn = data.planned, data.drawn
    values = [r.relative for r in drawn]
    kind = "all" if data.exhaustive else "drawn at random from"
    findings = [
        f"The planned layers {_list(plan.layers)} keep {percent(plan.relative, 1)} of the unpruned "
        f"score; {len(drawn)} other sets at the same cost ({kind} {data.possible} possible) keep "
        f"{percent(min(values), 1)} to {percent(max(values), 1)}, "
        f"{percent(float(np.median(values)), 1)} in the middle. The plan beats "
        f"{percent(data.beaten)} of them.",
        f"The best set found is {_list(data.best)}. Chosen on one half of the samples and scored "
        f"on the other, the best set keeps {percent(data.best_honest, 1)}, the plan "
        f"{percent(data.planned_honest, 1)}: {_gap(data)}",
        _prediction(data),
    ]
    other = [r for r in data.results if r.kind == "equal depths"]
    for each in other:
        if each.difference is not None:
            gain, low, high = (-v for v in each.difference)
            findings.append(
                f"Against the same number of layers at equal depths, {_list(each.layers)}, the "
                f"plan gains {signed(gain)} points [{signed(high)}, {signed(low)}]."
            )
    ranked = sorted(data.results, key=lambda r: -r.relative)
    shown = ranked[:10] + [r for r in ranked[10:] if r.kind != "drawn"]
    names = list(data.datasets)
    tables = [
        Table(
            title="The best sets, and the plan",
            columns=(
                "layers",
                *names,
                "relative",
                "to the plan [95 %]",
                "P",
                "kept at the end",
                "",
            ),
            rows=tuple(
                (
                    _list(r.layers),
                    *(f"{r.scores[n]:.3f}" for n in names),
                    percent(r.relative, 1),
                    _paired(r),
                    f"{r.area:.4f}",
                    percent(r.kept, 1),
                    "" if r.kind == "drawn" else r.kind,
                )
                for r in shown
            ),
            note="The best of many sets is also the luckiest: see the finding on halves.",
        ),
        Table(
            title="What predicts the measured score of the drawn sets?",
            columns=("number", "Spearman ρ", "95 % interval", "meaning"),
            rows=tuple(
                (
                    o.name,
                    "–" if o.spearman is None else f"{o.spearman:+.2f}",
                    "–" if o.low is None or o.high is None else f"{o.low:+.2f} to {o.high:+.2f}",
                    o.meaning,
                )
                for o in data.objectives
            ),
            note="About the most that the noise of the scores allows: "
            + ("–" if data.ceiling is None else f"ρ = {data.ceiling:.2f}")
            + ", from one half of the samples against the other.",
        ),
    ]
    measured = (
        f"Greedy answers to {samples_text(data.datasets)}, the same for all sets; {data.m} pruning "
        f"layers, {data.retain} retained on average, method {data.method}. Score: "
        "mean over data sets, relative to the unpruned model. P is from the profile, whose samples "
        "are not these."
    )
    return Description(measured, tuple(findings), tuple(tables))


def _prediction(data: Data) -> str:
    paper, *others = data.objectives
    if paper.spearman is None or paper.low is None:
        return "All drawn sets score the same, or have the same P: nothing can be predicted here."
    ceiling = "" if data.ceiling is None else f" (noise allows about {data.ceiling:.2f})"
    text = (
        f"The planner's objective P ranks the drawn sets with Spearman ρ = {paper.spearman:+.2f} "
        f"[{paper.low:+.2f}, {paper.high:+.2f}]{ceiling}: "
    )
    if paper.low <= 0:
        text += "it does not predict their scores beyond chance"
    elif paper.spearman < WEAK:
        text += "it predicts their scores badly"
    else:
        text += "sets with a larger P do score higher"
    best = max(others, key=lambda o: o.spearman if o.spearman is not None else -2)
    if best.spearman is not None and best.spearman > paper.spearman + 0.1:
        text += (
            f". “{best.name}” ({best.meaning}) ranks them better here, ρ = {best.spearman:+.2f}; "
            "it was found on these sets, so check it on others"
        )
    return text + "."


def _gap(data: Data) -> str:
    gap = data.best_honest - data.planned_honest
    if gap <= 0:
        return "searching by measurement finds nothing better than the plan."
    return f"searching by measurement gains {signed(gap)} points."


def _paired(result: Result) -> str:
    if result.difference is None:
        return "–"
    value, low, high = result.difference
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
