"""Running the command line inside the test's process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swiftprof.cli.app import main


@dataclass(frozen=True)
class Result:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON: the whole of it, or this fails."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line of a refusal."""
        assert self.code == 2, self
        assert self.out == ""
        assert self.err.count("\n") == 1
        assert self.err.startswith("swiftprof: error: ")
        return self.err.removeprefix("swiftprof: error: ").strip()


@pytest.fixture
def swiftprof(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Call `swiftprof(arg, …)` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Result:
        code = main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def curve_file(tmp_path: Path) -> Path:
    """A curve of 32 layers whose plan with three layers is 3, 11, 15."""
    x = {str(layer): 0.5 for layer in range(2, 33)} | {"3": 0.62, "11": 0.8, "15": 0.97}
    path = tmp_path / "curve.json"
    path.write_text(json.dumps({"num_layers": 32, "x": x}))
    return path
