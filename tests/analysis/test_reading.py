"""Where visual tokens are read: against plans that withdraw them, and as an input of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from swiftprof.analysis.reading import Data, describe, measure
from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_datasets
from swiftprof.evaluation.answer import answer_samples
from swiftprof.planning.fill import Cost
from swiftprof.planning.plan_file import ModelInfo, Plan, Stage


@pytest.fixture(scope="module")
def data(bundled: Any, made_profile: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    cost = Cost(made_profile.model, bundled.decoder_shape, 20.0)
    folder: Path = tmp_path_factory.mktemp("reading")
    return measure(
        bundled, get_datasets(["scenes-qa"]), made_profile, cost, folder, shares=(0.05,), samples=4
    )


def test_the_score_left_is_that_of_a_plan_with_one_token(data: Any, bundled: Any) -> None:
    assert data.layers == list(range(2, bundled.num_layers))
    (dataset,) = get_datasets(["scenes-qa"])
    info = ModelInfo(name="m", num_layers=bundled.num_layers, visual_tokens=144)
    plans: dict[str, Plan | None] = {"vanilla": None}
    for layer in (2, 9):
        stage = Stage(layer=layer, keep=1 / 144)
        plans[str(layer)] = Plan(model=info, method="drop", stages=(stage,))
    found, _ = answer_samples(bundled, dataset, "train", draw(dataset, "train", 4, 0), plans)
    score = {v: sum(a.score for a in found if a.variant == v) for v in plans}
    for layer in (2, 9):
        expected = score[str(layer)] / score["vanilla"]
        assert data.left[data.layers.index(layer)] == pytest.approx(expected)


def test_capability_is_known_at_the_profiles_v_and_the_others(data: Any, made_profile: Any) -> None:
    assert data.shares == [0.05, made_profile.keep]
    assert list(data.capability) == list(made_profile.layers)
    assert data.capability[11][1] == pytest.approx(0.95, abs=0.2)  # of the invented profile


def test_intervals_hold_the_value_and_words_are_said(data: Any) -> None:
    for low, value, high in zip(data.low, data.left, data.high, strict=True):
        assert low <= value + 1e-9
        assert value <= high + 1e-9
    said = describe(data)
    assert any("Most is read in" in each for each in said.findings)
    assert len(said.tables[0].rows) == len(data.layers)


def test_a_model_that_needs_the_picture_until_late_has_read_little_early(data: Any) -> None:
    read = data.reading.read
    assert read[2] <= read[12] <= read[-1] == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"left": [0.5]}, "differ in length"),
        ({"layers": []}, "layers"),
        ({"shares": [0.2, 0.05]}, "shares"),
        ({"shares": [0.05, 1.0]}, "shares"),
        ({"capability": {3: [0.5]}}, "capability"),
        ({"capability": {3: [0.5, float("nan")]}}, "numbers"),
        ({"num_layers": 10**9}, "layers"),
    ],
)
def test_a_damaged_reading_curve_is_refused_in_one_line(
    data: Any, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        Data.model_validate({**data.model_dump(), **change})
