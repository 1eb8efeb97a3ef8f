"""How good is the plan? Measured scores of the planned layers and of other sets at the same cost.

Every set of as many layers that the token budget allows is a rival; a seeded draw of them, or all,
answer the same held-out samples. The planner's objective P (eq. 7) is then compared with what was
measured, by rank correlation over the drawn sets, the plan left out, as it was chosen by P.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.budget import budget_text
from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.numbers import percent, signed, spearman
from swiftprof.analysis.sampling import Progress
from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.api import evaluate
from swiftprof.evaluation.settings import VariantSettings
from swiftprof.evaluation.statistics import Scores, compare_paired
from swiftprof.evaluation.store import PART_SAMPLES, part_path, read_part
from swiftprof.methods.depths import equal_depths
from swiftprof.models.loading import VLM
from swiftprof.planning.budget import smallest_retain
from swiftprof.planning.curve import BASE_LAYER, Curve
from swiftprof.planning.fill import DEFAULT_RATIO, Cost, Setting, fill_plan
from swiftprof.planning.plan_file import Plan
from swiftprof.planning.program import area

__all__ = ["OBJECTIVES", "Data", "Objective", "Result", "describe", "feasible_sets", "measure"]

Floats = NDArray[np.float64]

CHUNK = 40
"""Layer sets that answer together; a chunk is its own resumable evaluation."""
REPLICATES = 1000
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


class Objective(BaseModel):
    """How well a number known before running predicts the measured score of the drawn sets."""

    model_config = ConfigDict(frozen=True)

    name: str
    meaning: str
    spearman: float | None
    low: float | None
    high: float | None


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

    @property
    def planned(self) -> Result:
        return self.results[0]

    @property
    def drawn(self) -> list[Result]:
        return [r for r in self.results if r.kind == "drawn"]


OBJECTIVES: Mapping[str, tuple[str, Callable[[Curve, Sequence[int], float], float]]] = {
    "area P": (
        "the planner's objective: mean capability reached over layers 2..L (eq. 7)",
        lambda curve, layers, kept: float(
            area(curve.layers, curve.num_layers, curve.x[None], layers)[0]
            / max(1, curve.num_layers - BASE_LAYER)
        ),
    ),
    "last x": (
        "capability of the last pruning layer",
        lambda curve, layers, kept: curve.at(layers[-1]),
    ),
    "mean x": (
        "mean capability of the pruning layers",
        lambda curve, layers, kept: float(np.mean([curve.at(i) for i in layers])),
    ),
    "least x": (
        "lowest capability among the pruning layers",
        lambda curve, layers, kept: min(curve.at(i) for i in layers),
    ),
    "tokens kept": (
        "tokens left after the last stage: a late first stage leaves few at the same average",
        lambda curve, layers, kept: kept,
    ),
}
"""Numbers that could rank plans: name -> (meaning, function of curve, layers, kept share)."""


def feasible_sets(
    num_layers: int, m: int, n_visual: int, retain: float, setting: Setting
) -> list[tuple[int, ...]]:
    """All sets of m layers in 3..L-1 that the runtime can cut at and the budget allows."""
    found = []
    for layers in combinations(range(BASE_LAYER + 1, num_layers), m):
        if m > 1 and layers[1] == layers[0] + 1:
            continue  # the second stage would cut where the first does
        if smallest_retain(layers, num_layers, n_visual, setting.method) <= retain:
            found.append(layers)
    return found


@dataclass(frozen=True)
class _Measured:
    """Scores of every set: label -> data set -> scores of the samples, in one order."""

    scores: dict[tuple[int, ...], dict[str, Floats]]
    vanilla: dict[str, Floats]

    def relative(self, layers: tuple[int, ...], half: int | None = None) -> float:
        """Mean over sets of score relative to vanilla; of the samples of one half (0 or 1)."""
        part = slice(half, None, None if half is None else 2)
        ratios = [
            each[part].mean() / max(self.vanilla[name][part].mean(), 1e-12)
            for name, each in self.scores[layers].items()
        ]
        return float(np.mean(ratios))


def measure(
    vlm: VLM,
    datasets: Sequence[Dataset],
    plan: Plan,
    curve: Curve,
    cost: Cost,
    setting: Setting,
    folder: Path,
    *,
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
    possible = feasible_sets(depth, m, n_visual, retain, setting)
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
    found = _answers(vlm, datasets, plans, folder, samples, seed, split, batch_size, progress)
    return _summed(found, plans, kinds, curve, setting, len(possible))


def _answers(
    vlm: VLM,
    datasets: Sequence[Dataset],
    plans: Mapping[tuple[int, ...], Plan],
    folder: Path,
    samples: int,
    seed: int,
    split: str | None,
    batch_size: int | None,
    progress: Progress | None,
) -> _Measured:
    names, names_of_sets = list(plans), [d.name for d in datasets]
    scores: dict[tuple[int, ...], dict[str, Floats]] = {each: {} for each in names}
    vanilla: dict[str, Floats] = {}
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    for number, chunk in enumerate(chunks):
        variants = [VariantSettings.of(_label(each), "", plans[each]) for each in chunk]

        def report(done: int, total: int, number: int = number) -> None:
            if progress:
                progress(number * total + done, len(chunks) * total)

        done = evaluate(
            vlm,
            variants,
            list(datasets),
            samples=samples,
            seed=seed,
            split=split,
            batch_size=batch_size,
            out=folder / _digest([v.plan for v in variants], names_of_sets, samples, seed, split),
            progress=report,
        )
        read = _read(done.path, done.results)
        for each in chunk:
            scores[each] = read[_label(each)]
        vanilla = read[VANILLA]
    return _Measured(scores, vanilla)


def _digest(*settings: object) -> str:
    """Short name of a chunk: the same for the same sets, samples and method."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def _label(layers: Sequence[int]) -> str:
    return "+".join(map(str, layers))


def _read(folder: Path, results: Mapping[str, Any]) -> dict[str, dict[str, Floats]]:
    """Variant -> data set -> scores in the order drawn."""
    out: dict[str, dict[str, dict[int, float]]] = {}
    for name, used in results["samples"].items():
        drawn = used + len(results["skipped"].get(name, ()))
        for number in range(-(-drawn // PART_SAMPLES)):
            answers, _ = read_part(part_path(folder, name, number))
            for a in answers:
                out.setdefault(a.variant, {}).setdefault(name, {})[a.place] = a.score
    return {
        variant: {
            name: np.array([values[place] for place in sorted(values)])
            for name, values in sets.items()
        }
        for variant, sets in out.items()
    }


def _summed(
    found: _Measured,
    plans: Mapping[tuple[int, ...], Plan],
    kinds: Mapping[tuple[int, ...], str],
    curve: Curve,
    setting: Setting,
    possible: int,
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
        ceiling=_ceiling(*([found.relative(each, half) for each in drawn] for half in (0, 1))),
        objectives=[
            _objective(
                name, meaning, [rank(curve, s, plans[s].stages[-1].keep) for s in drawn], scores
            )
            for name, (meaning, rank) in OBJECTIVES.items()
        ],
    )


def _difference(mine: Scores, theirs: Scores, vanilla: Scores) -> tuple[float, float, float] | None:
    found = compare_paired(mine, theirs, vanilla, permutations=1)
    if found is None:
        return None
    d = found.difference
    return round(d.value, 6), round(d.low, 6), round(d.high, 6)


def _ceiling(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Largest expected correlation with the scores of both halves together (Spearman-Brown)."""
    halves = spearman(first, second)
    if halves is None:
        return None
    return round(float(np.sqrt(max(0.0, 2 * halves / (1 + halves)))), 4) if halves > -1 else 0.0


def _objective(name: str, meaning: str, values: Sequence[float], scores: Floats) -> Objective:
    """Rank correlation with an interval: sets are drawn again."""
    known, generator = np.array(values), np.random.default_rng(len(values))
    drawn = []
    for _ in range(REPLICATES):
        again = generator.integers(0, len(known), len(known))
        found = spearman(known[again], scores[again])
        if found is not None:
            drawn.append(found)
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (None, None)
    return Objective(
        name=name, meaning=meaning, spearman=spearman(known, scores), low=low, high=high
    )


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
