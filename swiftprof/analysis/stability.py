"""How sure is the plan? Resampled plans, area against m, and how many samples are enough."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import Curve, SampleScores, combine, normalise
from swiftprof.planning.program import area, solve, solve_all
from swiftprof.planning.stability import bootstrap_curves
from swiftprof.profiling.store import Profile

Floats = NDArray[np.float64]

REPLICATES = 1000
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


class Data(BaseModel):
    """What was measured.

    Attributes:
        frequency: layer -> share of resamples whose plan prunes there, at the budget m.
        sets: most frequent plans of resamples with their shares, best first.
        regret: mean loss of P by the plan against the best plan of each resample.
    """

    model_config = ConfigDict(frozen=True)

    num_layers: int
    m: int
    plan: list[int]
    replicates: int
    datasets: dict[str, int]
    profile: str
    base: float
    frequency: dict[str, float]
    sets: list[tuple[list[int], float]]
    regret: float
    regret_p95: float
    budgets: list[Budget]
    sizes: list[Size]


def measure(profile: Profile, m: int = 3, *, replicates: int = REPLICATES, seed: int = 0) -> Data:
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
    most = max(m, _most(curve))
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
    regret = (np.array([f.area(m) for f in found]) - area(layers, depth, curves, plan)) / span
    return Data(
        num_layers=depth,
        m=m,
        plan=list(plan),
        replicates=len(curves),
        datasets={name: len(scores.vanilla) for name, scores in samples.items()},
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
    whole = area(curve.layers, curve.num_layers, curve.x[None], plan)[0]
    out = []
    for size in (s for s in SIZES if s < least):
        curves = subsampled_curves(samples, size, min(200, replicates), seed)
        if not len(curves):
            continue
        programs = solve_all(curve.layers, curve.num_layers, curves, m)
        loss = np.array(
            [
                whole - area(curve.layers, curve.num_layers, curve.x[None], f.layers(m))[0]
                for f in programs
            ]
        )
        out.append(
            Size(
                samples=size,
                regret=round(float(loss.mean() / span), 6),
                p95=round(float(np.quantile(loss, 0.95) / span), 6),
            )
        )
    return out


def _most(curve: Curve) -> int:
    """The largest number of layers that still gains: an unlimited budget's."""
    return max(1, len(solve(curve, curve.num_layers).layers))


def describe(data: Data) -> Description:
    """How sure the plan is, in words."""
    same = next((share for layers, share in data.sets if layers == data.plan), 0.0)
    plan = ", ".join(map(str, data.plan))
    sure = [f"{i} in {percent(s)}" for i, s in data.frequency.items() if int(i) in data.plan]
    findings = [
        f"{percent(same)} of {data.replicates} resamples give exactly the layers {plan}; "
        f"each layer alone is chosen more often: {', '.join(sure)}.",
        f"What that uncertainty costs is small: the plan loses {data.regret:.4f} of area P on "
        f"average against the best plan of each resample (95th percentile {data.regret_p95:.4f})."
        if data.regret_p95 < 0.01
        else f"The plan loses {data.regret:.4f} of area P on average against the best plan of each "
        f"resample, and more than {data.regret_p95:.4f} in one of twenty: profile more samples.",
    ]
    enough = next((b for b in data.budgets if data.budgets[-1].area - b.area < 0.002), None)
    if enough is not None:
        findings.append(
            f"With m = {enough.m} the plan reaches P = {enough.area:.4f}; all "
            f"{data.budgets[-1].m} layers that gain anything reach "
            f"{data.budgets[-1].area:.4f}."
        )
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
                for b in data.budgets
            ),
        ),
        Table(
            title=f"Most frequent plans with m = {data.m}",
            columns=("layers", "resamples"),
            rows=tuple((", ".join(map(str, s)), percent(n, 1)) for s, n in data.sets),
        ),
    ]
    if data.sizes:
        tables.append(
            Table(
                title="Plans from fewer samples, judged by the curve of all",
                columns=("samples a set", "mean loss of P", "95th percentile"),
                rows=tuple((str(s.samples), f"{s.regret:.4f}", f"{s.p95:.4f}") for s in data.sizes),
                note="Drawn without replacement; the judging curve contains the drawn samples.",
            )
        )
    measured = (
        f"Scores stored in {data.profile} ({samples_text(data.datasets)}), resampled "
        f"{data.replicates} times with replacement within each data set and planned again by the "
        "same program."
    )
    return Description(measured, tuple(findings), tuple(tables))
