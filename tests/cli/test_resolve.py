"""The one rule for model and data: a plan or profile brings them, options override, misfits are
refused before anything is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swiftprof.models.loading as loading
from swiftprof.cli.options import DataOptions, LoadOptions
from swiftprof.cli.output import check_out
from swiftprof.cli.resolve import read_plan, resolve
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.models.registry import ModelInfo, find_model
from swiftprof.planning.plan_file import Plan, Source, Stage

Run = Callable[..., Any]


def plan_for(name: str = "tiny-llava", layers: int = 24, **facts: Any) -> tuple[str, Plan]:
    model = ModelInfo(name=name, num_layers=layers, **facts.pop("model", {}))
    return "some/plan.json", Plan(model=model, stages=(Stage(layer=3, keep=0.5),), **facts)


@pytest.fixture
def never_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(loading, "load", load)


def test_without_anything_it_is_the_bundled_model_and_its_data() -> None:
    found = resolve(LoadOptions())
    assert found.source.bundled
    assert found.names == ("scenes-ref", "scenes-text", "scenes-qa")


def test_a_plan_brings_its_model_and_its_data() -> None:
    source = Source(datasets=("refcoco", "mine"), given={"mine": "/data/mine.jsonl"})
    found = resolve(LoadOptions(), plan=plan_for("llava-1.5-7b", 32, source=source))
    assert found.source.name == "llava-1.5-7b"
    assert found.names == ("refcoco", "/data/mine.jsonl")
    hub = {"id": "acme/llava-tuned", "revision": "v2"}
    found = resolve(LoadOptions(), plan=plan_for("llava-tuned", 32, model=hub))
    assert (found.source.id, found.load.revision) == ("acme/llava-tuned", "v2")


def test_a_profile_brings_its_model_and_its_data(made_profile: Any) -> None:
    found = resolve(LoadOptions(), profile=made_profile)
    assert found.source.name == "tiny-llava"
    assert found.names == ("scenes-ref", "scenes-qa")


def test_options_override_what_a_plan_brings(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(Path(find_model("tiny-llava").location) / "config.json", copy)
    plan = plan_for(source=Source(datasets=("scenes-qa",)))
    found = resolve(LoadOptions(model=str(copy)), DataOptions(datasets="scenes-ref"), plan=plan)
    assert found.source.id == str(copy)
    assert found.names == ("scenes-ref",)


@pytest.mark.parametrize(
    ("made_for", "asked", "wanted"),
    [
        (("llava-1.5-7b", 32), "tiny-llava", ("llava-1.5-7b with 32", "tiny-llava with 24")),
        (("tiny-llava", 24), "tiny-llava-plain", ("for tiny-llava with", "for tiny-llava-plain")),
        (("qwen2-vl-7b", 28), "qwen2.5-vl-7b", ("for qwen2-vl-7b", "for qwen2.5-vl-7b")),
    ],
)
def test_a_misfit_is_refused_with_both_names(
    made_for: tuple[str, int], asked: str, wanted: tuple[str, str]
) -> None:
    with pytest.raises(SwiftprofError) as caught:
        resolve(LoadOptions(model=asked), plan=plan_for(*made_for))
    for text in ("some/plan.json", *wanted):
        assert text in str(caught.value)


def test_a_plan_of_another_depth_never_reaches_the_bundled_model(
    swiftprof: Run, never_loads: None
) -> None:
    """It used to be evaluated there in silence, on synthetic scenes."""
    for command in (("eval",), ("run",)):
        said = swiftprof(*command, "--plan", "llava-1.5-7b").complaint
        assert "brings no data sets of its own" in said
        assert "--datasets" in said
        said = swiftprof(*command, "--plan", "llava-1.5-7b", "--model", "tiny-llava").complaint
        assert "llava-1.5-7b with 32 layers" in said
        assert "tiny-llava with 24 layers" in said


def test_a_large_model_is_never_asked_about_the_bundled_scenes_unasked(
    swiftprof: Run, never_loads: None
) -> None:
    for command in ("profile", "eval"):
        assert "--datasets" in swiftprof(command, "--model", "llava-1.5-7b").complaint


def test_slips_are_told_before_the_model_loads(
    swiftprof: Run, never_loads: None, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "odd.json").write_text(
        plan_for(method="fastv")[1].to_json().replace("fastv", "fastvv")
    )
    ask = ("run", "--image", "scene-1", "--prompt", "x")
    for arguments, wanted in (
        ((*ask, "--dtype", "int3"), "--dtype int3"),
        ((*ask, "--plan", "odd.json"), "did you mean 'fastv'"),
        ((*ask, "--show-tokens", "x.foo"), "--show-tokens x.foo: must end in .png"),
        ((*ask, "--show-tokens", "file/x.png"), "--show-tokens file/x.png: cannot be written"),
        ((*ask, "--samples", "3"), "--samples: does not go with --image"),
        (("run", "--show-tokens", "x.png"), "--show-tokens: goes with --image"),
        (("run", "--max-new-tokens", "3"), "--max-new-tokens: goes with --image"),
        (("eval", "--out", "file"), "--out file: is a file"),
        (("profile", "--out", "file/x"), "--out file/x: cannot be written"),
    ):
        assert wanted in swiftprof(*arguments).complaint


def test_paths_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    check_out(tmp_path / "new" / "plan.json")
    check_out(tmp_path / "new", folder=True)
    check_out(None)
    assert not (tmp_path / "new").exists()
    with pytest.raises(BadParameter, match="is a folder"):
        check_out(Path(""))
    with pytest.raises(BadParameter, match="cannot be written"):
        check_out(Path("/proc/plan.json"))


def test_plans_are_read_by_file_and_by_the_name_of_their_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_plan(None)[1].model.name == "tiny-llava"
    assert read_plan("llava-1.5-7b")[1].pruning_layers == (3, 11, 15)
    with pytest.raises(SwiftprofError, match="no plan is shipped for qwen2-vl-7b"):
        read_plan(None, "qwen2-vl-7b")
    plan_for()[1].save("plan.json")
    assert read_plan(None)[1].pruning_layers == (3,)
