"""What a race of candidate layers saves and risks, replayed on scores that are there.

No model runs. The committed profile of the bundled model is raced in random orders of its samples,
and so are made-up curves. A race is wrong where it changes a plan. Writes race.json beside this.

    python benchmarks/race.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from swiftprof.planning.curve import Curve, SampleScores, combine
from swiftprof.planning.program import solve
from swiftprof.profiling.parts import PART_SAMPLES, part_count
from swiftprof.profiling.race import Rules, round_of, still_in
from swiftprof.profiling.store import Profile

HERE = Path(__file__).parent
BUDGETS = range(1, 7)
Scores = Mapping[str, SampleScores]


def raced(
    scores: Scores, layers: tuple[int, ...], depth: int, risk: float
) -> tuple[tuple[int, ...], float]:
    """The layers that stay to the end, and the share of re-runs that is saved."""
    size = len(next(iter(scores.values())).vanilla)
    last = round_of(part_count(size) - 1)
    rules = Rules.of(depth, len(layers), dict.fromkeys(scores, size), risk, last)
    alive, ran, before = layers, 0, 0
    for number in range(last + 1):
        seen = min(size, PART_SAMPLES * 2**number)
        ran += len(alive) * (seen - before)
        before = seen
        if number < last:
            alive = still_in(among(scores, layers, alive, seen), alive, rules)
    return alive, 1 - ran / (len(layers) * size)


def among(
    scores: Scores, layers: tuple[int, ...], some: tuple[int, ...], seen: int | None = None
) -> dict[str, SampleScores]:
    """The scores of some layers on the first samples."""
    columns = [layers.index(layer) for layer in some]
    return {
        n: SampleScores(s.vanilla[:seen], s.reruns[:seen][:, columns]) for n, s in scores.items()
    }


def plans(scores: Scores, layers: tuple[int, ...], depth: int) -> list[tuple[int, ...]]:
    curve = Curve(depth, layers, combine(scores))
    return [solve(curve, budget).layers for budget in BUDGETS]


def many(draws: list[Scores], layers: tuple[int, ...], depth: int, risk: float) -> dict[str, float]:
    saved, left, same = [], [], 0
    for scores in draws:
        alive, share = raced(scores, layers, depth, risk)
        saved.append(share)
        left.append(len(alive))
        same += plans(among(scores, layers, alive), alive, depth) == plans(scores, layers, depth)
    return {
        "draws": len(draws),
        "risk": risk,
        "saved_mean": round(float(np.mean(saved)), 4),
        "saved_least": round(min(saved), 4),
        "saved_most": round(max(saved), 4),
        "layers": len(layers),
        "layers_left": round(float(np.mean(left)), 2),
        "same_plans": same,
    }


def shuffled(scores: Scores, chance: np.random.Generator) -> Scores:
    orders = {name: chance.permutation(len(s.vanilla)) for name, s in scores.items()}
    return {n: SampleScores(s.vanilla[orders[n]], s.reruns[orders[n]]) for n, s in scores.items()}


def made_up(kind: str, chance: np.random.Generator) -> Scores:
    """Six sets of 1,000 answers of 31 layers; most of what makes one right is the sample's."""
    place = np.linspace(0, 1, 31)
    x = {
        "rises": 0.55 + 0.35 * place,
        "rises and falls": 0.5 + 0.4 * np.sin(np.pi * place) ** 0.7,
        "flat": np.full(31, 0.7),
        "scattered": 0.7 + 0.1 * chance.standard_normal(31),
    }[kind]
    sets = {}
    for number in range(6):
        here = np.clip(x + 0.05 * chance.standard_normal(31), 0.02, 0.98)
        hard = 0.7 * chance.random((1000, 1)) + 0.3 * chance.random((1000, 31))
        limit = [np.quantile(hard[:, i], here[i]) for i in range(31)]
        sets[f"set {number}"] = SampleScores(np.ones(1000), hard <= limit)
    return sets


def main() -> None:
    profile = Profile.load(HERE.parent / "profiles" / "tiny-llava")
    depth, chance = profile.model.num_layers, np.random.default_rng(0)
    orders = [shuffled(profile.samples, chance) for _ in range(1000)]
    document = {
        "as_drawn": many([profile.samples], profile.layers, depth, 0.01),
        "orders": [many(orders, profile.layers, depth, risk) for risk in (0.01, 0.1, 0.5)],
        "made_up": {
            kind: many([made_up(kind, chance) for _ in range(30)], tuple(range(2, 33)), 32, 0.01)
            for kind in ("rises", "rises and falls", "flat", "scattered")
        },
    }
    (HERE / "race.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
