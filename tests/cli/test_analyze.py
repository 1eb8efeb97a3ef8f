"""`swiftprof analyze` and `swiftprof report`: options, files, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swiftprof.analysis import NAMES


def test_alone_it_lists_the_analyses(swiftprof: Callable[..., Any]) -> None:
    result = swiftprof("analyze")
    assert result.code == 0
    assert all(name in result.out for name in NAMES)
    found = swiftprof("analyze", "--json").document["analyses"]
    assert [each["name"] for each in found] == list(NAMES)


@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_every_analysis_has_help_with_examples(swiftprof: Callable[..., Any], name: str) -> None:
    result = swiftprof("analyze", name, "--help")
    assert result.code == 0
    assert f"swiftprof analyze {name}" in result.out
    assert "--json" in result.out
    assert "--out" in result.out


def test_json_is_the_document_that_was_written(
    swiftprof: Callable[..., Any], made_profile: Any, tmp_path: Path
) -> None:
    result = swiftprof(
        "analyze", "stability", "--profile", made_profile.path, "--bootstrap", 20, "--json"
    )
    document = result.document
    assert document.pop("path") == "analyses"
    import json

    assert document == json.loads((tmp_path / "analyses" / "stability.json").read_text())
    assert {p.suffix for p in (tmp_path / "analyses").iterdir()} == {".json", ".md", ".png"}


def test_people_get_findings_and_a_table(swiftprof: Callable[..., Any], made_profile: Any) -> None:
    result = swiftprof("analyze", "curve", "--profile", made_profile.path, "--out", "here")
    assert result.code == 0
    assert "Layer 11 of 24 tells visual tokens apart best" in " ".join(result.out.split())
    assert Path("here/curve.png").is_file()


def test_all_runs_each_with_the_options_it_has(
    swiftprof: Callable[..., Any], made_profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swiftprof.analysis.NAMES", ("curve", "stability", "ranks"))
    result = swiftprof(
        "analyze", "all", "--profile", made_profile.path, "--datasets", "scenes-qa",
        "--budget", 2, "--samples", 2, "--json",
    )  # fmt: skip
    curve, stability, ranks = result.document["analyses"]
    assert len(curve["data"]["plan"]) == stability["data"]["m"] == 2
    assert ranks["data"]["datasets"] == {"scenes-qa": 2}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["curve", "--profile", "absent"], "absent"),
        (["pareto", "--profile", "P", "--cost", "time"], "cost"),
        (["pictures", "--profile", "P", "--pick", "best"], "pick"),
        (["pictures", "--profile", "P", "--ratio", "1/2,1/3"], "one token budget"),
        (["pictures", "--profile", "P", "--methods", "swiftvml"], "swiftvlm"),
        (["pictures", "--profile", "P", "--ratio", "1/3", "--retain", "40"], "retain"),
        (["ranks", "--datasets", "scene-ref"], "scenes-ref"),
        (["pareto", "--eval", "absent"], "absent"),
        (["rank"], "ranks"),
    ],
)
def test_bad_input_is_one_line(
    swiftprof: Callable[..., Any], made_profile: Any, arguments: list[str], named: str
) -> None:
    given = [str(made_profile.path) if each == "P" else each for each in arguments]
    result = swiftprof("analyze", *given)
    assert result.code == 2
    last = result.err.strip().splitlines()[-1]  # a model may have been loaded, which is said
    assert last.startswith("swiftprof: error: ")
    assert named in last


def test_report_writes_one_file_and_says_what_is_in_it(
    swiftprof: Callable[..., Any], made_profile: Any, tmp_path: Path
) -> None:
    result = swiftprof("report", made_profile.path, "--out", "r.html", "--samples", 4, "--json")
    assert result.code == 0
    found = result.document
    assert found["samples_shown"] == 4
    assert found["samples"] == 60
    assert found["bytes"] == (tmp_path / "r.html").stat().st_size
    assert found["sections"][0]["kind"] == "profile"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_report_refuses_what_it_cannot_show(swiftprof: Callable[..., Any], tmp_path: Path) -> None:
    assert "absent" in swiftprof("report", "absent").complaint
    (tmp_path / "empty").mkdir()
    assert "no profile, evaluation or analysis" in swiftprof("report", "empty").complaint
    (tmp_path / "x.json").write_text('{"schema": "other"}')
    assert "'other'" in swiftprof("report", "x.json").complaint


def test_broken_samples_are_counted_and_named_by_the_exit_code(
    swiftprof: Callable[..., Any], tmp_path: Path
) -> None:
    import json

    from PIL import Image

    Image.new("RGB", (96, 96), "red").save(tmp_path / "red.png")
    rows = [
        {"image": "red.png", "question": "What color is it?", "answers": ["red"]},
        {"image": "absent.png", "question": "What color is it?", "answers": ["red"]},
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = swiftprof("analyze", "ranks", "--datasets", "own.jsonl", "--samples", 2)
    assert result.code == 3
    assert "1 samples of own skipped" in result.err
    document = json.loads((tmp_path / "analyses" / "ranks.json").read_text())
    assert document["data"]["skipped"] == {"own": 1}
    assert document["data"]["datasets"] == {"own": 1}
