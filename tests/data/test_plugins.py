"""A data set from another package: the very example of the documentation, installed and used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swiftprof.cli.app import main
from swiftprof.data.registry import GROUP, dataset_names, get_dataset
from swiftprof.errors import SwiftprofError

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


def install(folder, source, *points):
    """What pip leaves behind: a module beside its metadata, on the path."""
    (folder / "clocks.py").write_text(source)
    info = folder / "clocks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clocks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points]) + "\n")


@pytest.fixture
def example():
    text = PAGE.read_text()
    section = text[text.index("## A data set from another package") :]
    toml, code = re.search(r"```toml\n(.*?)```\n\n```python\n(.*?)```", section, re.DOTALL).groups()
    return toml, code


@pytest.fixture
def package(example, tmp_path, monkeypatch):
    toml, code = example
    assert len(code.splitlines()) <= 22
    name, value = re.search(r'^(\w+) = "(.*)"$', toml, re.MULTILINE).groups()
    assert GROUP in toml
    install(tmp_path, code, f"{name} = {value}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "clocks", raising=False)
    return name


def test_the_documented_example_is_a_data_set_everywhere(package, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert package in dataset_names()
    dataset = get_dataset(package)
    sample = dataset.sample("test", 5)
    assert dataset.score("5", sample) == 1.0
    assert dataset.score("6", sample) == 0.0
    assert main(["datasets", "--json"]) == 0
    listed = {d["name"]: d for d in json.loads(capsys.readouterr().out)["datasets"]}
    assert listed["clocks"]["splits"] == {"train": 600, "test": 120}
    assert main(["datasets"]) == 0
    assert "read the hour off a clock" in capsys.readouterr().out


def test_it_is_run_beside_our_own(package, bundled, capsys, tmp_path, monkeypatch):
    from swiftprof.models.registry import ModelInfo
    from swiftprof.planning.plan_file import Plan, Stage

    monkeypatch.chdir(tmp_path)
    model = ModelInfo(
        name="tiny-llava", id="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144
    )
    Plan(model=model, stages=(Stage(layer=3, keep=0.3),)).save(tmp_path / "plan.json")
    code = main(["run", "--datasets", "clocks,scenes-qa", "--samples", "4", "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["settings"]["datasets"] == ["clocks", "scenes-qa"]
    assert code == 3  # the bundled model reads no clocks, and a set without a right answer says so
    assert "clocks: left out" in said.err
    assert "scenes-qa: answer" in said.err


@pytest.mark.parametrize(
    ("source", "point", "message"),
    [
        ("1 / 0", "clocks = clocks:Clocks", "ZeroDivisionError"),
        ("print('hello')\nraise SystemExit(1)", "clocks = clocks:Clocks", "SystemExit: 1"),
        ("def Clocks(): raise SystemExit(1)", "clocks = clocks:Clocks", "SystemExit: 1"),
        ("", "clocks = clocks:Clocks", "is broken"),
        ("def Clocks(): return 3", "clocks = clocks:Clocks", "makes a int"),
    ],
)
def test_a_plugin_that_fails_is_named(tmp_path, monkeypatch, capsys, source, point, message):
    install(tmp_path, source, point)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "clocks", raising=False)
    with pytest.raises(SwiftprofError, match=message) as caught:
        get_dataset("clocks")
    assert "package clocks" in str(caught.value)
    assert main(["datasets", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "pope" in [d["name"] for d in json.loads(out)["datasets"]]
    assert "warning" in err
    assert "package clocks" in err


def test_our_own_names_cannot_be_taken(tmp_path, monkeypatch):
    install(tmp_path, "def Clocks(): return 3", "pope = clocks:Clocks")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert type(get_dataset("pope")).__name__ == "POPE"
    assert dataset_names().count("pope") == 1


def test_a_class_needs_no_entry_point(package, monkeypatch):
    assert get_dataset("clocks:Clocks").size("test") == 120
    with pytest.raises(SwiftprofError, match="no module 'watches'"):
        get_dataset("watches:Clocks")
    with pytest.raises(SwiftprofError, match="has no 'Watches'"):
        get_dataset("clocks:Watches")
