"""The shape of the package: who may import whom, what stays light, how long a file may be."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1] / "swiftprof"


def test_the_package_has_files() -> None:
    assert any(ROOT.rglob("*.py"))
