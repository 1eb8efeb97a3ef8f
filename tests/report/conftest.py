"""One folder with every analysis and one evaluation, made once through the commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swiftprof.cli.app import main


@dataclass(frozen=True)
class Made:
    """Folders that commands have written."""

    profile: Path
    evaluation: Path
    analyses: Path


@pytest.fixture(scope="session")
def made(made_profile: Any, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A profile with its plan, an evaluation of two budgets, all analyses."""
    root = tmp_path_factory.mktemp("report")
    found = Made(made_profile.path, root / "eval", root / "analyses")
    common = ["--profile", str(found.profile), "--datasets", "scenes-ref,scenes-qa"]
    where = ["--out", str(found.analyses)]

    def run(*arguments: str) -> None:
        assert main(arguments) == 0, arguments

    plan = str(found.profile / "plan.json")
    run("plan", str(found.profile), "--budget", "3", "--bootstrap", "20", "--out", plan)
    methods = ["--methods", "vanilla,random,swiftvlm", "--ratio", "1/2,1/3"]
    run("eval", *methods, *common, "--samples", "3", "--out", str(found.evaluation))
    run("analyze", "curve", *common[:2], *where)
    run("analyze", "stability", *common[:2], "--bootstrap", "20", *where)
    run("analyze", "ranks", *common, "--samples", "2", *where)
    shown = ["--methods", "random,swiftvlm", "--pick", "first", "--show", "2"]
    run("analyze", "pictures", *common, *shown, "--samples", "2", *where)
    run("analyze", "pareto", "--eval", str(found.evaluation), *where)
    return found
