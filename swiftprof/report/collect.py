"""From folders to a page: what each of them is, and what can be shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swiftprof.analysis import NAMES
from swiftprof.analysis.document import SCHEMA as ANALYSIS
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.results import SCHEMA as EVALUATION
from swiftprof.files import read_json_object
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.store import SCHEMA as PROFILE
from swiftprof.report.images import Album
from swiftprof.report.page import Page
from swiftprof.report.read_eval import read_eval

MAX_BYTES = 1 << 26
MOST_FILES = 200
"""JSON files of a folder that are looked at."""


def collect(runs: Sequence[Path], *, samples: int, album: Album, title: str | None = None) -> Page:
    """A page of several runs, in the order given.

    Args:
        runs: folders of a profile, an evaluation or analyses, or single JSON documents.
        samples: to look at, in all.
        album: finds the images of samples.
        title: by default made from the runs.

    Raises:
        SwiftprofError: a run does not exist, or there is nothing in it to show.
    """
    page = Page(title or "")
    found = [(run, *part) for run in runs for part in _parts(run, page)]
    with_samples = sum(kind in ("profile", "evaluation") for _, kind, _ in found)
    analysed = {path.stem for _, kind, path in found if kind == "analysis"}
    for number, (_, kind, path) in enumerate(found):
        room = samples // max(1, with_samples)
        if kind == "profile":
            from swiftprof.report.read_profile import read_profile

            sections, cards, total = read_profile(path, room, album)
            if "curve" in analysed:  # the same figure and table come once
                sections = [
                    replace(s, title="What was profiled", figures=(), tables=(), findings=())
                    if s.kind == "profile"
                    else s
                    for s in sections
                ]
        elif kind == "evaluation":
            sections, cards, total = read_eval(path, room, album, f"e{number}-")
            if sum(each == "evaluation" for _, each, _ in found) > 1:  # else they look alike
                sections = [replace(s, title=f"{s.title}: {path.name}") for s in sections]
        elif kind == "plan":
            from swiftprof.report.read_profile import plan_section

            sections, cards, total = (
                [plan_section(Plan.load(path), path.parent, f"p{number}-")],
                [],
                0,
            )
        else:
            from swiftprof.report.read_analysis import read_analysis

            sections, cards, total = [read_analysis(path, f"a{number}-")], [], 0
        page.sections += sections
        page.cards += cards
        page.total += total
    page.left_out += album.problems
    if not page.title:
        facts = [fact for section in page.sections for fact in section.facts]
        models = dict.fromkeys(v.split(",")[0] for name, v in facts if name == "model")
        page.title = "swiftprof: " + (", ".join(models) if len(models) < 4 else "report")
    return page


def _parts(run: Path, page: Page) -> list[tuple[str, Path]]:
    """(kind, path) of everything in a run; what cannot be shown is noted on the page.

    Raises:
        SwiftprofError: nothing can be shown.
    """
    if not run.exists():
        raise SwiftprofError(f"{run}: no such file or folder; give what a command has written")
    if not run.is_dir():
        kind = _kind(run)
        if kind is None:
            raise SwiftprofError(f"{run}: {_unknown(run)}")
        return [(kind, run.parent if kind in ("profile", "evaluation") else run)]
    found: list[tuple[str, Path]] = []
    files = sorted(run.glob("*.json"))
    for file in files[:MOST_FILES]:
        try:
            kind = _kind(file)
        except SwiftprofError as error:
            page.left_out.append(str(error))
            continue
        if kind in ("profile", "evaluation"):
            found.append((kind, run))
        elif kind == "analysis":
            found.append((kind, file))
        elif kind is None and file.name not in ("run.json",):
            page.left_out.append(f"{file}: {_unknown(file)}")
        elif kind == "plan" and not (run / "profile.json").is_file():
            found.append((kind, file))
    if not found:
        why = f" ({page.left_out[0]})" if page.left_out else ""
        raise SwiftprofError(
            f"{run}: no profile, evaluation or analysis in this folder{why}; give a folder that "
            "swiftprof profile, eval or analyze has written"
        )
    order = list(NAMES)
    kinds = ("profile", "evaluation", "plan", "analysis")
    return sorted(
        dict.fromkeys(found),
        key=lambda p: (
            kinds.index(p[0]),
            order.index(p[1].stem) if p[1].stem in order else len(order),
        ),
    )


def _kind(file: Path) -> str | None:
    """What a JSON document is, by its schema. Raises SwiftprofError where it is none."""
    schema = str(read_json_object(file, "report", MAX_BYTES).get("schema", ""))
    if schema == PROFILE:
        return "profile"
    if schema.startswith(EVALUATION):
        return "evaluation"
    if schema.split("/")[0] == ANALYSIS.split("/")[0]:
        return "analysis"
    if schema.startswith("swiftprof.plan/"):
        return "plan"
    return None


def _unknown(file: Path) -> str:
    schema = read_json_object(file, "report", MAX_BYTES).get("schema")
    said = "no schema" if schema is None else f"schema {str(schema)[:60]!r}"
    return f"{said}, so it is not known how to show it"
