"""Curves: read from files, combined from the scores of single samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import Curve, SampleScores, combine


def write(folder: Path, text: str) -> Path:
    path = folder / "curve.json"
    path.write_text(text)
    return path


def test_a_curve_file_is_read_in_the_order_of_layers(tmp_path: Path) -> None:
    document = {"num_layers": 12, "x": {"10": 0.5, "2": 0.25, "3": 1}}
    curve = Curve.from_json(write(tmp_path, json.dumps(document)))
    assert curve.num_layers == 12
    assert curve.layers == (2, 3, 10)
    assert curve.x.tolist() == [0.25, 1.0, 0.5]
    assert curve.at(10) == 0.5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"x": {"2": 1}}', "num_layers: field required"),
        ('{"num_layers": 4}', "x: field required"),
        ('{"num_layers": "4", "x": {"2": 1}}', "num_layers"),
        ('{"num_layers": true, "x": {"2": 1}}', "num_layers"),
        ('{"num_layers": 1e9, "x": {"2": 1}}', "num_layers"),
        ('{"num_layers": 99999999, "x": {"2": 1}}', "num_layers"),
        ('{"num_layers": 4, "x": [1, 2]}', "x: input should be a valid dictionary"),
        ('{"num_layers": 4, "x": {}}', "x: dictionary should have at least 1"),
        ('{"num_layers": 4, "x": {"3": 1}}', "layer 2 is missing"),
        ('{"num_layers": 4, "x": {"2": 1, "5": 1}}', "layer 5 is outside 1..4"),
        ('{"num_layers": 4, "x": {"2": 1, "0": 1}}', "layer 0 is outside 1..4"),
        ('{"num_layers": 4, "x": {"2": 1, "two": 1}}', "x.two.[key]: string should match"),
        ('{"num_layers": 4, "x": {"2": 1, "03": 1}}', "x.03.[key]: string should match"),
        ('{"num_layers": 4, "x": {"2": 1, "²": 1}}', "string should match"),
        ('{"num_layers": 4, "x": {"2": "high"}}', "x.2: input should be a valid number (got high)"),
        ('{"num_layers": 4, "x": {"2": null}}', "x.2: input should be a valid number"),
        ('{"num_layers": 4, "x": {"2": 1e999}}', "value of layer 2 is not a finite number"),
        ('{"num_layers": 4, "x": {"2": NaN}}', "NaN"),
        (
            '{"num_layers": 4, "x": {"2": 1' + "0" * 400 + "}}",
            "x.2: input should be a valid number",
        ),
        ('{"num_layers": 4, "x": {"2": 1, "\\ud800\\n": 1}}', "valid string"),
        ('{"num_layers": 4, "x": {"2"', "cut short"),
    ],
)
def test_a_flaw_in_a_curve_file_is_named_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SwiftprofError) as caught:
        Curve.from_json(path)
    assert named in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_layers_must_rise_and_match_their_values() -> None:
    with pytest.raises(SwiftprofError, match="increase"):
        Curve(5, (2, 4, 3), np.zeros(3))
    with pytest.raises(SwiftprofError, match="2 values for 3 layers"):
        Curve(5, (2, 3, 4), np.zeros(2))


def scores(vanilla: list[float], *columns: list[float]) -> SampleScores:
    return SampleScores(np.array(vanilla), np.array(columns).T)


def test_each_data_set_counts_the_same_and_is_relative_to_its_own_vanilla_score() -> None:
    easy = scores([1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0])  # 0.75, 0.25 of 1
    hard = scores([1, 0], [0.5, 0], [0, 0.25])  # 0.25, 0.125 of 0.5
    assert combine({"easy": easy}).tolist() == [0.75, 0.25]
    assert combine({"easy": easy, "hard": hard}).tolist() == [0.625, 0.25]
    assert combine({"hard": hard, "easy": easy}).tolist() == [0.625, 0.25]


def test_minmax_maps_each_data_set_to_0_and_1_and_a_flat_one_to_0() -> None:
    rising = scores([1, 1], [0.2, 0.2], [0.3, 0.3], [0.6, 0.6])
    flat = scores([0, 0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5])
    assert combine({"a": rising}, "minmax") == pytest.approx([0, 0.25, 1])
    assert combine({"a": rising, "b": flat}, "minmax") == pytest.approx([0, 0.125, 0.5])


def test_a_data_set_that_the_vanilla_model_fails_has_no_relative_curve() -> None:
    with pytest.raises(SwiftprofError, match="data set gqa: the unpruned model scores 0"):
        combine({"gqa": scores([0, 0], [1, 0])})


def test_impossible_scores_are_refused() -> None:
    with pytest.raises(SwiftprofError, match="shapes"):
        SampleScores(np.zeros(3), np.zeros((2, 4)))
    with pytest.raises(SwiftprofError, match="no samples"):
        SampleScores(np.zeros(0), np.zeros((0, 4)))
    with pytest.raises(SwiftprofError, match="finite"):
        scores([1, 1], [np.nan, 1])
    with pytest.raises(SwiftprofError, match="no data set"):
        combine({})
    with pytest.raises(SwiftprofError, match="did you mean 'minmax'"):
        combine({"a": scores([1], [1])}, "minimax")  # type: ignore[arg-type]


@given(st.permutations(range(5)))
def test_the_order_of_samples_does_not_matter(order: list[int]) -> None:
    vanilla, reruns = np.arange(1.0, 6), np.arange(10.0).reshape(5, 2)
    mixed = SampleScores(vanilla[order], reruns[order])
    assert combine({"a": mixed}) == pytest.approx(combine({"a": SampleScores(vanilla, reruns)}))
