"""Names from files are shown as they are, never as markup."""

from __future__ import annotations

import json
import shutil

import pytest

from swiftprof.cli.app import main


@pytest.mark.parametrize("name", ["[/bold]", "[link=file:///etc/passwd]x[/link]", "[red]"])
def test_markup_in_names_is_text(small_profile, tmp_path, capsys, name):
    folder = tmp_path / "profile"
    shutil.copytree(small_profile.path, folder)
    document = json.loads((folder / "profile.json").read_text())
    document["settings"]["model"]["name"] = name
    document["protocol"] = {"scenes-qa": name}
    (folder / "profile.json").write_text(json.dumps(document))
    run = json.loads((folder / "run.json").read_text())
    run["settings"]["model"]["name"] = name
    (folder / "run.json").write_text(json.dumps(run))
    assert main(["plan", str(folder), "--out", str(tmp_path / "plan.json")]) == 0
    assert name in capsys.readouterr().out
    (folder / "profile.json").unlink()
    assert main(["merge", str(folder)]) == 0
    assert name in capsys.readouterr().out
