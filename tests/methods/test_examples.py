"""The examples run as they stand; only the profile is one that was made before."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import swiftprof

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(made_profile: Any, bundled: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`run(name)`: an example as a script, without its minute of profiling."""
    monkeypatch.setattr(swiftprof, "profile", lambda *args, **named: made_profile, raising=False)
    monkeypatch.setattr(swiftprof, "load", lambda name: bundled, raising=False)
    return lambda name: runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_prune_your_model(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("prune_your_model")
    assert names["plan"].pruning_layers == (3, 7, 11)
    told = capsys.readouterr().out
    assert "48 tokens left" in told
    assert "Where is the" in told


def test_new_method(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("new_method")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["drop ", "__main__", "__main__"]
    assert "{'strength': 2.0}" in lines[2]


def test_planning_with_the_new_method_does_not_import_torch() -> None:
    code = (
        "import sys, swiftprof\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from swiftprof.planning.fill import Setting\n"
        "assert Setting.of('new_method:Outstanding', {'strength': 1.0}).method.planned\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_shows_the_example() -> None:
    page = (EXAMPLES.parent / "docs" / "own_method.md").read_text()
    shown = page.split("```python\n")[1].split("```")[0]
    assert shown in (EXAMPLES / "new_method.py").read_text()
