"""plan.json: what is written is read back, and every flaw is named in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import swiftprof.planning.plan_file as plan_file
from swiftprof.core.stages import tokens_per_layer
from swiftprof.errors import SwiftprofError
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stability, Stage, schema_text

DESIGN_EXAMPLE: dict[str, Any] = {
    "schema": "swiftprof.plan/1",
    "model": {
        "name": "llava-1.5-7b",
        "id": "llava-hf/llava-1.5-7b-hf",
        "revision": None,
        "num_layers": 32,
        "visual_tokens": 576,
    },
    "method": "swiftvlm",
    "pruning_layers": [3, 11, 15],
    "stages": [
        {"layer": 3, "keep": 0.5, "merge": 0.05},
        {"layer": 11, "keep": 0.3, "merge": 0.05},
        {"layer": 15, "keep": 0.15, "merge": 0.0},
    ],
    "budget": {"layers": 3, "retain": 192.0},
    "expected": {"retained_tokens": 192.0, "tflops": 1.75, "tflops_vanilla": 4.29, "area": 0.97},
    "stability": {"bootstrap": 1000, "layer_frequency": {"3": 0.98}},
    "source": {
        "profile": "p",
        "sha256": "00",
        "datasets": ["refcoco"],
        "samples": 1000,
        "keep": 0.2,
    },
    "swiftprof": "0.1.0",
}


def write(folder: Path, document: Any) -> Path:
    path = folder / "plan.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SwiftprofError) as caught:
        Plan.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_the_documented_example_is_read_and_written_back_unchanged(tmp_path: Path) -> None:
    plan = Plan.load(write(tmp_path, DESIGN_EXAMPLE))
    assert plan.pruning_layers == (3, 11, 15)
    saved = json.loads(plan.save(tmp_path / "deep" / "copy.json").read_text())
    for name, value in DESIGN_EXAMPLE.items():
        if isinstance(value, dict):
            assert {key: saved[name][key] for key in value} == value
        else:
            assert saved[name] == value
    assert Plan.load(tmp_path / "deep" / "copy.json") == plan
    assert not list(tmp_path.rglob("*.tmp"))


def stage(number: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["stages"][number].update(changes)


def top(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


def model(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["model"].update(changes)


def layers(*numbers: int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["pruning_layers"] = list(numbers)
        for each, number in zip(document["stages"], numbers, strict=True):
            each["layer"] = number

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (top(schema="swiftprof.plan/2"), "schema: 'swiftprof.plan/2' is not 'swiftprof.plan/1'"),
        (top(schema="swiftprof.profile/1"), "schema: 'swiftprof.profile/1' is not"),
        (top(schema=1), "schema"),
        (lambda document: document.pop("schema"), "schema: missing"),
        (lambda document: document.pop("stages"), "stages: field required"),
        (lambda document: document.pop("model"), "model: field required"),
        (top(stages=[]), "stages"),
        (top(stages="all"), "stages"),
        (top(method=3), "method"),
        (top(method=""), "method"),
        (top(pruning_layers=[3, 11]), "pruning_layers"),
        (top(option={}), "option: no such field"),
        (layers(1, 11, 33), "stages[2].layer: 33 is outside 1..32"),
        (layers(0, 11, 15), "stages[0].layer: 0 is outside 1..32"),
        (layers(-1, 11, 15), "stages[0].layer"),
        (layers(3, 15, 11), "stages[2].layer: 11 comes after 15"),
        (layers(3, 11, 11), "stages[2].layer: 11 comes after 11"),
        (stage(1, keep=0.0), "stages[1].keep"),
        (stage(1, keep=1.5), "stages[1].keep"),
        (stage(1, keep="0.3"), "stages[1].keep"),
        (stage(1, keep=True), "stages[1].keep"),
        (stage(1, layer=11.5), "stages[1].layer"),
        (stage(1, merge=-0.1), "stages[1].merge"),
        (stage(0, keep=0.98), "stages[0]: keep + merge is 1.03"),
        (stage(1, keep=0.51), "stages[1]: keep + merge grows from 0.55 to 0.56"),
        (stage(2, merge=0.05), "stages[2].merge"),
        (stage(1, seeds="best"), "stages[1].seeds"),
        (model(num_layers=0), "model.num_layers"),
        (model(num_layers="32"), "model.num_layers"),
        (model(visual_tokens=-5), "model.visual_tokens"),
        (model(revisions="x"), "model.revisions: no such field"),
        (top(stability={"bootstrap": 10, "layer_frequency": {"3": 2.0}}), "layer_frequency"),
    ],
)
def test_a_flaw_is_refused_with_the_name_of_its_field(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    document = copy.deepcopy(DESIGN_EXAMPLE)
    change(document)
    assert named in refusal(write(tmp_path, document))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (json.dumps(DESIGN_EXAMPLE)[:200], "cut short"),
        ("", "not valid JSON"),
        ("[1]", "JSON list"),
        ("null", "JSON null"),
        ('{"schema": "swiftprof.plan/1", "x": NaN}', "NaN"),
        ("[" * 100_000, "not valid JSON"),
        ("{" + " " * plan_file.MAX_BYTES + "}", "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(write(tmp_path, text))


def test_missing_files_folders_and_binary_files_are_refused(tmp_path: Path) -> None:
    assert "no such plan file" in refusal(tmp_path / "none.json")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "image").write_bytes(b"\x89PNG\xff")
    assert "not a text file" in refusal(tmp_path / "image")


def test_an_infinite_number_is_refused(tmp_path: Path) -> None:
    text = json.dumps(DESIGN_EXAMPLE).replace("192.0", "1e999")
    assert "budget.retain" in refusal(write(tmp_path, text))


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_value_in_any_field_escapes_as_another_error(tmp_path: Path, data: Any) -> None:
    document = copy.deepcopy(DESIGN_EXAMPLE)
    spots: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in entries:
            spots.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    walk(document)
    holder, key = data.draw(st.sampled_from(spots))
    holder[key] = data.draw(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(max_size=5),
            st.lists(st.integers(), max_size=2),
            st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        )
    )
    path = write(tmp_path, document)
    try:
        Plan.load(path)
    except SwiftprofError as refused:
        message = str(refused)
    else:
        return
    assert message.startswith(f"{path}: ")


def test_a_plan_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    plan = Plan.model_validate(DESIGN_EXAMPLE)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "plan.json", tmp_path / "folder"):
        with pytest.raises(SwiftprofError, match="cannot write here"):
            plan.save(target)
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder"}


def test_a_plan_for_another_depth_is_refused() -> None:
    plan = Plan.model_validate(DESIGN_EXAMPLE)
    plan.check_model(32, "llava-1.5-7b")
    with pytest.raises(SwiftprofError, match=r"32 layers, but llava-1\.5-13b has 40"):
        plan.check_model(40, "llava-1.5-13b")


def test_pruning_layers_follow_the_stages_where_they_are_not_given() -> None:
    made = Plan(
        model=ModelInfo(name="m", num_layers=8),
        stages=(Stage(layer=2, keep=0.5), Stage(layer=5, keep=0.1)),
    )
    assert made.pruning_layers == (2, 5)


def test_methods_other_than_bypass_may_start_before_the_decoder_and_merge_last() -> None:
    info = ModelInfo(name="m", num_layers=8)
    made = Plan(model=info, method="visionzip", stages=(Stage(layer=0, keep=0.3, merge=0.05),))
    assert made.tokens_per_layer(100) == [35.0] * 8


def test_with_bypass_the_last_stage_merges_nothing() -> None:
    stages = [{"layer": 3, "keep": 0.5, "merge": 0.1}, {"layer": 5, "keep": 0.2, "merge": 0.1}]
    document = {"model": {"name": "m", "num_layers": 8}, "method": "swiftvlm", "stages": stages}
    with pytest.raises(ValueError, match=r"stages\[1\].merge.*must be 0"):
        Plan.model_validate(document)


def test_layers_see_the_tokens_of_the_stages_before_them() -> None:
    plan = Plan.model_validate(DESIGN_EXAMPLE)
    counts = plan.tokens_per_layer(576)
    # 0.5, 0.3 and 0.15 of 576 are 288, 173 and 86; 0.05 is 29.
    assert counts == [576.0] * 3 + [317.0] * 7 + [202.0] * 4 + [86.0] * 18
    assert tokens_per_layer((), 4, 9) == [9.0] * 4


def test_the_published_json_schema_is_current_and_knows_the_example() -> None:
    stored = Path(plan_file.__file__).with_name("plan.schema.json").read_text()
    assert stored == schema_text(), "write it again: schema_text() of swiftprof.planning.plan_file"
    schema = json.loads(stored)
    assert set(DESIGN_EXAMPLE) <= set(schema["properties"])
    assert set(schema["required"]) == {"schema", "model", "stages"}


def test_the_shipped_published_plan_says_what_it_knows_and_no_more() -> None:
    plan = Plan.load("llava-1.5-7b")
    assert plan.pruning_layers == (3, 11, 15)
    assert plan.source.published is not None
    assert "2602.03134" in plan.source.published
    assert plan.stability is None
    assert plan.expected.area is None
    assert sum(plan.tokens_per_layer(576)) / 32 == pytest.approx(192, abs=0.5)


def test_stability_is_typed() -> None:
    with pytest.raises(ValueError, match="bootstrap"):
        Stability(bootstrap=-1, layer_frequency={})
