"""Names from files are shown as they are, never as markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swiftprof.cli.app import main
from swiftprof.profiling.api import profile


@pytest.mark.parametrize("name", ["[/bold]", "[link=file:///etc/passwd]x[/link]", "[red]"])
def test_markup_in_names_is_text(bundled, tmp_path, capsys, name):
    folder = tmp_path / "profile"
    named = replace(bundled, source=replace(bundled.source, name=name))
    profile(named, ["scenes-qa"], samples=4, out=folder, score="nll")
    capsys.readouterr()
    assert main(["plan", str(folder), "--out", str(tmp_path / "plan.json")]) == 0
    assert name in capsys.readouterr().out
    (folder / "profile.json").unlink()
    assert main(["merge", str(folder)]) == 0
    assert name in capsys.readouterr().out
