"""From folders to a page: what each of them is, and what can be shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swiftprof.analysis import NAMES
from swiftprof.analysis.document import Document
from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object
from swiftprof.planning.plan_file import Plan
from swiftprof.report.images import Album
from swiftprof.report.page import Drawing, Page, Section, typed
from swiftprof.report.read_eval import read_eval
from swiftprof.report.read_profile import plan_section, read_profile
from swiftprof.tables import samples_text

MAX_BYTES = 1 << 26
MOST_FILES = 200
"""JSON files of a folder that are looked at."""
KINDS = {
    "swiftprof.profile": "profile",
    "swiftprof.eval": "evaluation",
    "swiftprof.plan": "plan",
    "swiftprof.analysis": "analysis",
}
"""Schema, apart from its version -> what it is, in the order of a page."""


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
    found = [part for run in runs for part in _parts(run, page)]
    kinds = [kind for kind, _ in found]
    room = samples // max(1, kinds.count("profile") + kinds.count("evaluation"))
    for number, (kind, path) in enumerate(found):
        if kind == "profile":
            part = read_profile(path, room, album)
        elif kind == "evaluation":
            part = read_eval(path, room, album, f"e{number}-")
        elif kind == "plan":
            part = Page(sections=[plan_section(Plan.load(path), str(path.parent), f"p{number}-")])
        elif path.stem == "curve" and "profile" in kinds:
            continue  # the profile's section has this figure
        else:
            part = Page(sections=[_analysis(path, f"a{number}-")])
        page.sections += part.sections
        page.cards += part.cards
        page.total += part.total
    page.left_out += dict.fromkeys(album.problems)
    if not page.title:
        facts = [fact for section in page.sections for fact in section.facts]
        models = dict.fromkeys(v.split(",")[0] for name, v in facts if name == "model")
        page.title = "swiftprof: " + (", ".join(models) if len(models) < 4 else "report")
    return page


def _analysis(path: Path, prefix: str) -> Section:
    """A document of `swiftprof analyze`; its figure is drawn anew from its data.

    Args:
        prefix: unique on the page, for ids inside the figure.

    Raises:
        SwiftprofError: not an analysis, or a damaged one.
    """
    document = Document.load(path)
    data = document.parsed()
    origin = list(document.origin.items())
    if data is not None:
        origin.insert(1, ("samples", samples_text(data.datasets)))
        origin.append(("skipped", samples_text(data.skipped)))
    return Section(
        kind="analysis",
        title=document.title,
        findings=document.findings,
        facts=origin,
        measured=document.measured,
        figures=[] if data is None else [Drawing.of(data.plot(), "", prefix)],
        tables=document.tables,
        headline=document.findings[0] if document.findings else "",
        command=document.command or typed("analyze", document.analysis),
    )


def _parts(run: Path, page: Page) -> list[tuple[str, Path]]:
    """(kind, path) of everything in a run; what cannot be shown is noted on the page.

    Raises:
        SwiftprofError: nothing can be shown.
    """
    if not run.exists():
        raise SwiftprofError(f"{run}: no such file or folder; give what a command has written")
    if not run.is_dir():
        kind = _kind(run)
        return [(kind, run.parent if kind in ("profile", "evaluation") else run)]
    found: list[tuple[str, Path]] = []
    for file in sorted(run.glob("*.json"))[:MOST_FILES]:
        try:
            kind = _kind(file)
        except SwiftprofError as error:
            if file.name != "run.json":
                page.left_out.append(str(error))
            continue
        if kind != "plan" or not (run / "profile.json").is_file():  # else the profile shows it
            found.append((kind, run if kind in ("profile", "evaluation") else file))
    if not found:
        why = f" ({page.left_out[0]})" if page.left_out else ""
        raise SwiftprofError(
            f"{run}: no profile, evaluation or analysis in this folder{why}; give a folder that "
            "swiftprof profile, eval or analyze has written"
        )
    order = [*KINDS.values(), *NAMES]
    return sorted(
        found,
        key=lambda part: [order.index(n) if n in order else 99 for n in (part[0], part[1].stem)],
    )


def _kind(file: Path) -> str:
    """What a JSON document is, by its schema. Raises SwiftprofError where it cannot be shown."""
    schema = read_json_object(file, "report", MAX_BYTES).get("schema")
    kind = KINDS.get(str(schema).partition("/")[0])
    if kind is None:
        said = "no schema" if schema is None else f"schema {str(schema)[:60]!r}"
        raise SwiftprofError(f"{file}: {said}, so it is not known how to show it")
    return kind
