"""Plans against other layer sets: which are possible, what is measured, what resumes."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from swiftprof.analysis import plans as module
from swiftprof.analysis.objectives import OBJECTIVES, correlate
from swiftprof.analysis.plans import describe, measure
from swiftprof.data.registry import get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import answer_samples
from swiftprof.planning.api import plan as make_plan
from swiftprof.planning.budget import feasible_sets
from swiftprof.planning.curve import Curve, combine
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
def asked(bundled: Any, made_profile: Any, tmp_path: Path) -> Any:
    """Calls `measure` on four samples; only `sets` and the folder change."""
    curve = Curve(made_profile.model.num_layers, made_profile.layers, combine(made_profile.samples))
    cost = Cost(made_profile.model, bundled.decoder_shape, 20.0)
    plan = make_plan(made_profile, 2, ratio=1 / 3, bootstrap=0)

    def run(sets: int = 4) -> Any:
        return measure(
            bundled, get_datasets(["scenes-qa"]), plan, curve, cost, Setting.of("swiftvlm"),
            tmp_path, sets=sets, samples=4,
        )  # fmt: skip

    return run, plan, curve, cost


def test_sets_answer_the_same_samples_as_the_plan(asked: Any, bundled: Any) -> None:
    run, plan, curve, cost = asked
    data = run()
    assert data.planned.layers == list(plan.pruning_layers)
    assert len(data.drawn) in (3, 4)  # the plan at equal depths may be among the draw
    assert not data.exhaustive
    other = data.drawn[0]
    remade = fill_plan(tuple(other.layers), plan.budget.retain, cost, Setting.of("swiftvlm"))
    from swiftprof.data.drawing import draw

    (dataset,) = get_datasets(["scenes-qa"])
    found, _ = answer_samples(
        bundled, dataset, "test", draw(dataset, "test", 4, 0), {"vanilla": None, "it": remade}
    )
    mean = {v: sum(a.score for a in found if a.variant == v) / 4 for v in ("vanilla", "it")}
    assert other.scores["scenes-qa"] == pytest.approx(mean["it"])
    assert other.relative == pytest.approx(mean["it"] / mean["vanilla"])
    span = curve.num_layers - 2
    first, second = other.layers
    steps = (first - 2, second - first, curve.num_layers - second)
    values = (curve.at(2), curve.at(first), curve.at(second))
    area = sum(a * b for a, b in zip(steps, values, strict=True)) / span
    assert other.area == pytest.approx(area, abs=1e-5)
    assert {o.name for o in data.objectives} == set(OBJECTIVES)
    said = describe(data)
    assert f"{len(data.drawn)} other sets" in said.findings[0]


def test_finished_parts_are_not_made_again(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, *_ = asked
    first = run()
    monkeypatch.setattr(
        "swiftprof.evaluation.api.answer_samples", lambda *_, **__: pytest.fail("ran again")
    )
    assert run() == first


def results(scores: list[float], areas: list[float]) -> Any:
    """Data with these drawn sets, for what is said of them."""
    import numpy as np

    rows = [
        module.Result(
            layers=[3 + n, 9], kind="drawn", area=a, kept=0.1, relative=s, scores={"a": s},
            difference=(0.0, 0.0, 0.0),
        )
        for n, (s, a) in enumerate(zip(scores, areas, strict=True))
    ]  # fmt: skip
    plan = module.Result(
        layers=[3, 7], kind="planned", area=1, kept=0.1, relative=0.9, scores={"a": 0.9}
    )
    objectives = [
        correlate(name, "", areas if name == "area P" else scores, np.array(scores))
        for name in ("area P", "last x")
    ]
    return module.Data(
        num_layers=24, m=2, retain="48", method="swiftvlm", datasets={"a": 9},
        vanilla={"a": 1.0}, possible=50, exhaustive=False, results=[plan, *rows], beaten=0.5,
        best=[3, 9], best_honest=0.95, planned_honest=0.9, ceiling=0.9, objectives=objectives,
    )  # fmt: skip


def test_a_bad_objective_is_called_bad_and_a_better_one_is_named() -> None:
    scores = [0.5 + 0.01 * n for n in range(20)]
    good = describe(results(scores, scores)).findings[2]
    assert "sets with a larger P do score higher" in good
    bad = describe(results(scores, scores[::-1])).findings[2]
    assert "does not predict" in bad
    assert "“last x”" in bad
    flat = describe(results([0.5] * 20, scores)).findings[2]
    assert "nothing can be predicted" in flat


def test_searching_by_measurement_is_compared_on_other_samples() -> None:
    found = describe(results([0.5, 0.6], [0.1, 0.2])).findings[1]
    assert "gains +5.0 points" in found
