"""What the README shows runs as it is printed, in an empty folder, and prints what is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from swiftprof.cli.app import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def test_it_is_one_page() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_first_example_prints_what_is_shown(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed, shown = BLOCKS[0][1], BLOCKS[1][1]
    printed = ""
    for line in typed.splitlines():
        words = shlex.split(line)
        if words[0] == "swiftprof":
            assert main(words[1:]) == 0
            printed += capsys.readouterr().out
    for line in shown.splitlines():
        if line != "…":
            assert line.rstrip() in [each.rstrip() for each in printed.splitlines()], line


def test_the_python_example_runs(empty: Path) -> None:
    [code] = [code for language, code in BLOCKS if language == "python"]
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["vlm"].decode(names["output"])
    assert list(empty.glob("profiles/*/profile.json"))


def test_every_command_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for name in sorted(set(re.findall(r"swiftprof ([a-z]+)", TEXT)) - {"import"}):
        assert main([name, "--help"]) == 0, name
