"""Capability as a function of what is kept, and the schedule that it predicts to be best."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest

from swiftprof.errors import SwiftprofError
from swiftprof.methods import create
from swiftprof.planning.budget import fill_budget
from swiftprof.planning.capability import Capability, best_shares, predicted_schedule
from swiftprof.planning.curve import SampleScores
from swiftprof.planning.fill import Cost, Setting, fill_plan
from swiftprof.planning.plan_file import ModelInfo
from swiftprof.planning.tokens import tokens_per_layer

MODEL = ModelInfo(name="tiny", num_layers=12, visual_tokens=144)


@dataclass(frozen=True)
class Profiled:
    """What is read of a profile: the same scores for every sample."""

    keep: float
    x: dict[int, float]
    model: ModelInfo = MODEL
    layers: tuple[int, ...] = (2, 3, 5, 8)
    name: str = "boxes"
    samples: dict[str, SampleScores] = field(init=False)

    def __post_init__(self) -> None:
        row = np.array([self.x.get(layer, 0.1) for layer in self.layers])
        scores = {self.name: SampleScores(np.ones(4), np.tile(row, (4, 1)))}
        object.__setattr__(self, "samples", scores)


LITTLE = Profiled(0.1, {3: 0.2, 5: 0.5, 8: 0.6})
MUCH = Profiled(0.4, {3: 0.6, 5: 0.7, 8: 0.9})


def test_between_what_was_measured_capability_is_linear_up_to_the_whole_model() -> None:
    capability = Capability.of([MUCH, LITTLE])
    assert capability.shares == (0.1, 0.4)
    noisy = Capability.of([MUCH, Profiled(0.6, {3: 0.5})])
    assert float(noisy.at(3, 0.6)) == pytest.approx(0.6)
    for share, expected in ((0.0, 0.0), (0.05, 0.1), (0.1, 0.2), (0.25, 0.4), (0.7, 0.8), (1, 1)):
        assert float(capability.at(3, share)) == pytest.approx(expected)
    assert capability.predict((3, 5), (0.1, 0.4)) == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(8))
def test_no_schedule_at_the_same_cost_has_a_better_worst_selection(seed: int) -> None:
    random, steps, layers = np.random.default_rng(seed), 20, (3, 5, 8)
    capability = Capability.of(
        [Profiled(v, dict(zip(layers, random.random(3), strict=True))) for v in (0.1, 0.3, 0.6)]
    )
    lengths = random.integers(1, 8, 3).tolist()
    budget = sum(lengths) * random.uniform(0.2, 0.9)
    found = best_shares(capability, layers, lengths, budget)
    assert found == sorted(found, reverse=True)
    assert np.dot(found, lengths) <= budget + 1e-9
    grid = [(n + 1) / steps for n in range(steps)]
    best = max(
        capability.predict(layers, each)
        for each in product(grid, repeat=3)
        if each[0] >= each[1] >= each[2] and np.dot(each, lengths) <= budget
    )
    assert capability.predict(layers, found) >= best - 0.02


def test_the_predicted_schedule_is_one_that_a_plan_takes_at_its_budget() -> None:
    setting = Setting.of("swiftvlm")
    cost = Cost(MODEL, None, 0.0)
    plan = fill_plan((3, 5, 8), 60, cost, setting)
    capability = Capability.of([LITTLE, MUCH])
    name, score = predicted_schedule(capability, plan)
    stages = fill_budget((3, 5, 8), 12, 144, 60, method=create("swiftvlm"), schedule=name)
    assert sum(tokens_per_layer(stages, 12, 144)) / 12 == pytest.approx(60, abs=0.5)
    shares = [s.keep + s.merge for s in stages]
    assert capability.predict((3, 5, 8), shares) == pytest.approx(score, abs=0.02)
    geometric = [s.keep + s.merge for s in plan.stages]
    assert score >= capability.predict((3, 5, 8), geometric) - 1e-9


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([Profiled(0.1, {})], "V = 0.1, 0.1"),
        ([Profiled(0.2, {}, name="words")], "data sets differ"),
        ([Profiled(0.2, {}, layers=(2, 3))], "layers differ"),
        ([Profiled(0.2, {}, model=ModelInfo(name="other", num_layers=12))], "model differ"),
    ],
)
def test_profiles_that_do_not_belong_together_are_refused(others: list[Any], message: str) -> None:
    with pytest.raises(SwiftprofError, match=message):
        Capability.of([LITTLE, *others])


def test_layers_that_were_not_profiled_are_refused() -> None:
    plan = fill_plan((3, 6), 60, Cost(MODEL, None, 0.0), Setting.of("swiftvlm"))
    with pytest.raises(SwiftprofError, match="layer 6 was not profiled"):
        predicted_schedule(Capability.of([LITTLE, MUCH]), plan)
