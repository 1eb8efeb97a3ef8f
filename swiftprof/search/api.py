"""`swiftprof.search_plan`: the best plan by measurement, at the price of the paper's plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftprof.costs.flops import DecoderShape, vanilla_flops
from swiftprof.data.base import Dataset
from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_datasets
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.models.loading import VLM
from swiftprof.planning.api import plan as make_plan
from swiftprof.planning.plan_file import Expected, Plan, SearchRecord, Tried
from swiftprof.planning.preset import plan_preset
from swiftprof.profiling.store import Profile
from swiftprof.search.limit import Limit
from swiftprof.search.measure import Drawn, Meter, plan_key
from swiftprof.search.pricing import Equal, Pricing
from swiftprof.search.race import RISK, Gain, gain
from swiftprof.search.rounds import Bar, Progress, Race
from swiftprof.search.space import Candidate, starts
from swiftprof.search.store import Store

SAMPLES, SEARCH, CHOOSE = 600, 160, 80
"""Samples of a set, and how many of them at most to search and to choose; the rest reports. Answers
of two plans cost little beside a search, and only many samples show a gain of two points."""
FINALISTS = 3


def search_plan(
    vlm: VLM,
    profile: Profile,
    *,
    limit: str = "10m",
    budget: int = 3,
    retain: float | None = None,
    ratio: float | None = None,
    flops: float | None = None,
    equal: Equal = "flops",
    datasets: Sequence[str | Dataset] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Look for a better plan than the paper's, at the same price.

    Args:
        vlm: the profile's model.
        profile: gives the paper's plan, the data sets and their splits. Where the paper's layers
            cannot meet the budget, the preset `often` takes that plan's place.
        limit: a time of measuring (`10m`) or a number of candidates (`200`). With a number the
            result depends on the seed alone.
        budget: m of the paper's plan.
        retain, ratio, flops: the budget, as in `swiftprof.plan`.
        equal: what all candidates have in common with the paper's plan: FLOPs of the prefill, or
            tokens averaged over layers.
        datasets: instead of the profile's; their calibration split is searched.
        samples: samples of each set, as far as the split has so many.
        seed: of the draw and of the search.
        folder: keeps what was measured, so that an interrupted search goes on.
        progress: called with (done, total).

    Returns:
        The winner, where it is better than the paper's plan beyond noise on samples that the search
        never saw; otherwise the paper's plan. `Plan.search` says what was tried, and what was
        gained.

    Raises:
        SwiftprofError: an impossible budget, unknown names, or too few samples.
    """
    bound = Limit.parse(limit)
    if equal not in ("flops", "tokens"):
        raise BadParameter("equal", equal, "must be flops or tokens")
    if profile.model.num_layers != vlm.num_layers:
        raise SwiftprofError(
            f"profile: of {profile.model.name} with {profile.model.num_layers} layers, but the "
            f"model has {vlm.num_layers}; profile it first"
        )
    paper = _base(profile, budget, retain, ratio, flops)
    sets = _draw(profile, datasets, samples, seed)
    settings = {
        "model": profile.model.name,
        "profile": profile.sha256,
        "sets": {d.dataset.name: [d.split, *d.search, *d.choose, *d.report] for d in sets},
    }
    meter = Meter(vlm, sets, Store(None if folder is None else Path(folder), settings))
    bar = Bar(progress, bound, meter)
    pricing = Pricing.of(vlm, paper, equal, meter)
    x = dict(zip(profile.layers, profile.curve.x.tolist(), strict=True))
    race = Race(pricing, meter, bound, seed, bar)
    base, preset = Candidate.of(paper, pricing.n_visual), pricing.preset()
    race.run(starts(base, preset, x, vlm.num_layers))
    return _end(race, paper, preset, sets, seed, limit, equal)


def _base(
    profile: Profile, budget: int, retain: float | None, ratio: float | None, flops: float | None
) -> Plan:
    """The paper's plan; where its layers cannot meet the budget, the preset."""
    try:
        return make_plan(profile, budget, retain, ratio, flops, bootstrap=0)
    except SwiftprofError as error:
        shape = DecoderShape.of(profile.decoder)
        made = plan_preset(
            "often", profile.model, shape, profile.text_tokens,
            retain=retain, ratio=ratio, flops=flops,
        )  # fmt: skip
        note = f"no plan of the paper's to compare with, so the preset took its place ({error})"
        return made.model_copy(update={"notes": (note,)})


def _end(
    race: Race,
    paper: Plan,
    preset: Candidate | None,
    sets: Sequence[Drawn],
    seed: int,
    limit: str,
    equal: Equal,
) -> Plan:
    """Finals: generate answers, choose, and report on samples that nothing was chosen by."""
    ranked = sorted(race.values, key=lambda each: -float(race.values[each].mean()))
    finalists = [race.plans[each] for each in ranked[:FINALISTS]]
    often = None if preset is None else race.pricing.plan(preset)
    if often is not None and plan_key(often) not in map(plan_key, finalists):
        finalists.append(often)
    meter, bar = race.meter, race.bar
    bar.finals = 0.1
    said = meter.answers([paper, *finalists], "choose", bar)[1:]
    likely = meter.likelihood(finalists, meter.levels, bar)
    # Few samples of each kind: the two measures together are less noisy than either.
    means = [float(a.mean() + b.mean()) for a, b in zip(said, likely, strict=True)]
    winner = finalists[means.index(max(means))]
    bar.finals = 0.6
    base, won = meter.answers([paper, winner], "report", bar)
    bar.finals = 1.0
    bar()
    gained = gain(won, base)
    better = gained.low > 0
    record = SearchRecord(
        limit=limit,
        seed=seed,
        equal=equal,
        risk=RISK,
        tried=len(race.plans),
        samples={d.dataset.name: (len(d.search), len(d.choose), len(d.report)) for d in sets},
        candidates=tuple(_tried(race, each) for each in ranked[:10]),
        gain=(round(gained.mean, 4), round(gained.low, 4), round(gained.high, 4)),
        relative=(round(float(base.mean()), 4), round(float(won.mean()), 4)),
        better=better,
        other=(paper if better else winner).to_dict(),
    )
    taken = winner if better else paper
    return _priced(taken, race).model_copy(
        update={"search": record, "notes": (*taken.notes, _note(gained, better, winner))}
    )


def _tried(race: Race, candidate: Candidate) -> Tried:
    values = race.values[candidate]
    plan = race.plans[candidate]
    return Tried(
        stages=plan.stages,
        options=plan.options,
        likelihood=round(float(values.mean()), 4),
        samples=len(values),
    )


def _priced(plan: Plan, race: Race) -> Plan:
    """With what is expected on the prompts that were searched on."""
    pricing, shape = race.pricing, race.pricing.shape
    cost = plan.flops(shape, pricing.n_visual, pricing.n_text)
    vanilla = vanilla_flops(shape, pricing.n_visual, pricing.n_text)
    expected = Expected(
        retained_tokens=round(plan.retained(pricing.n_visual), 4),
        tflops=float(f"{cost / 1e12:.6g}"),
        tflops_vanilla=float(f"{vanilla / 1e12:.6g}"),
        area=plan.expected.area,
    )
    return plan.model_copy(update={"expected": expected})


def _note(gained: Gain, better: bool, winner: Plan) -> str:
    size = f"{100 * gained.mean:+.1f} points ({100 * gained.low:+.1f} to {100 * gained.high:+.1f})"
    if better:
        note = f"found by search: {size} of the unpruned score over the paper's plan, on "
        note += f"{gained.samples} samples that the search never saw"
    else:
        note = f"a search found nothing better beyond noise ({size} on {gained.samples} samples "
        note += "that it never saw), so this is the paper's plan"
    if winner.options.get("spread") == 1.0:
        note += "; its best candidate samples the picture evenly and asks no layer"
    return note


def _draw(
    profile: Profile, datasets: Sequence[str | Dataset] | None, samples: int, seed: int
) -> list[Drawn]:
    """Calibration samples of each set, split three ways."""
    settings = profile.summary.settings
    names: Sequence[str | Dataset] = list(settings.datasets) if datasets is None else datasets
    found = []
    for dataset in get_datasets(names):
        split = _split(settings, dataset)
        drawn = draw(dataset, split, samples, seed + 1, at_most=True)
        if len(drawn) < 10:
            raise BadParameter(
                "samples", samples, f"{dataset.name} {split} gives {len(drawn)}; needs 10 or more"
            )
        search = min(SEARCH, len(drawn) * 2 // 5)
        choose = search + min(CHOOSE, len(drawn) // 5)
        parts = tuple(drawn[:search]), tuple(drawn[search:choose]), tuple(drawn[choose:])
        found.append(Drawn(dataset, split, *parts))
    return found


def _split(settings: Any, dataset: Dataset) -> str:
    splits: Mapping[str, str] = settings.splits
    return splits.get(dataset.name, dataset.train_split)
