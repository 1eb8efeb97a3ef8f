"""Plans against other layer sets: which are possible, what is measured, what resumes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from swiftprof.analysis.correlation import spearman, spearman_interval
from swiftprof.analysis.plans import Plans, PlansAnalysis, Result
from swiftprof.data.registry import get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import answer_samples
from swiftprof.planning.api import plan as make_plan
from swiftprof.planning.budget import feasible_sets
from swiftprof.planning.fill import Cost, Setting, fill_plan
from swiftprof.planning.plan_file import ModelInfo


def test_possible_sets_are_those_for_which_a_plan_can_be_made() -> None:
    setting, model = Setting.of("swiftvlm"), ModelInfo(name="m", num_layers=9, visual_tokens=60)
    cost = Cost(model, None, 0.0)
    expected = []
    for layers in combinations(range(3, 9), 2):
        try:
            fill_plan(layers, 27.0, cost, setting)
        except (SwiftprofError, ValueError):
            continue
        expected.append(layers)
    assert feasible_sets(9, 2, 60, 27.0, setting.method) == expected
    assert 0 < len(expected) < 10


@pytest.fixture
def asked(subject: Any) -> Callable[[], Any]:
    """Four rivals and the plan on four samples; the folder stays the same."""
    return lambda: PlansAnalysis(budget=2, sets="4", samples=4).run(subject("scenes-qa"))


def test_sets_answer_the_same_samples_as_the_plan(
    asked: Callable[[], Any], bundled: Any, made_profile: Any
) -> None:
    data = asked()
    plan = make_plan(made_profile, 2, ratio=1 / 3, bootstrap=0)
    assert data.planned.layers == list(plan.pruning_layers)
    assert len(data.drawn) in (3, 4)  # the plan at equal depths may be among the draw
    other = data.drawn[0]
    cost = Cost(made_profile.model, bundled.decoder_shape, made_profile.text_tokens)
    remade = fill_plan(tuple(other.layers), plan.budget.retain, cost, Setting.of("swiftvlm"))
    from swiftprof.data.drawing import draw

    (dataset,) = get_datasets(["scenes-qa"])
    found, _ = answer_samples(
        bundled, dataset, "test", draw(dataset, "test", 4, 0), {"vanilla": None, "it": remade}
    )
    mean = {v: sum(a.score for a in found if a.variant == v) / 4 for v in ("vanilla", "it")}
    assert other.scores["scenes-qa"] == pytest.approx(mean["it"])
    assert other.relative == pytest.approx(mean["it"] / mean["vanilla"])
    curve, span = made_profile.curve, made_profile.model.num_layers - 2
    first, second = other.layers
    steps = (first - 2, second - first, curve.num_layers - second)
    values = (curve.at(2), curve.at(first), curve.at(second))
    area = sum(a * b for a, b in zip(steps, values, strict=True)) / span
    assert other.area == pytest.approx(area, abs=1e-5)
    assert f"{len(data.drawn)} other sets" in data.describe().findings[0]


def test_finished_parts_are_not_made_again(
    asked: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked()
    monkeypatch.setattr(
        "swiftprof.evaluation.fill.answer_samples", lambda *_, **__: pytest.fail("ran again")
    )
    assert asked() == first


def results(scores: list[float], areas: list[float]) -> Plans:
    """Data with these drawn sets, for what is said of them."""
    rows = [
        Result(
            layers=[3 + n, 9], kind="drawn", area=a, kept=0.1, relative=s, scores={"a": s},
            difference=(0.0, 0.0, 0.0),
        )
        for n, (s, a) in enumerate(zip(scores, areas, strict=True))
    ]  # fmt: skip
    plan = Result(layers=[3, 7], kind="planned", area=1, kept=0.1, relative=0.9, scores={"a": 0.9})
    return Plans(
        retain="48", method="swiftvlm", datasets={"a": 9}, possible=50, results=[plan, *rows],
        best_honest=0.95, planned_honest=0.9, ceiling=0.9,
        correlation=spearman_interval(areas, scores),
    )  # fmt: skip


def test_a_bad_objective_is_called_bad() -> None:
    scores = [0.5 + 0.01 * n for n in range(20)]
    assert "do score higher" in results(scores, scores).describe().findings[2]
    assert "does not predict" in results(scores, scores[::-1]).describe().findings[2]
    assert "nothing to predict" in results([0.5] * 20, scores).describe().findings[2]


def test_searching_by_measurement_is_compared_on_other_samples() -> None:
    found = results([0.5, 0.6], [0.1, 0.2]).describe().findings[1]
    assert "gains +5.0 points" in found


def dumb_spearman(a: list[float], b: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]

    x, y = ranks(a), ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    return float(top / (sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y)) ** 0.5)


def test_spearman_is_the_correlation_of_mean_ranks() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = (list(map(float, random.integers(0, 5, 12))) for _ in range(2))
        if len(set(a)) > 1 and len(set(b)) > 1:
            assert spearman(a, b) == pytest.approx(dumb_spearman(a, b))
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_the_interval_of_a_correlation_holds_it() -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=60)
    b = a + random.normal(size=60)
    found = spearman_interval(a, b)
    assert found is not None
    value, low, high = found
    assert value == pytest.approx(dumb_spearman(list(a), list(b)), abs=1e-5)
    assert 0 < low < value < high < 1
    assert spearman_interval([1, 1, 1], [1, 2, 3]) is None
