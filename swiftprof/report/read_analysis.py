"""A document of `swiftprof analyze` as a section. Its figure is drawn anew from its data."""

from __future__ import annotations

from pathlib import Path

from swiftprof.analysis.document import Data, Document, Provenance, samples_text
from swiftprof.analysis.pictures import Pictures
from swiftprof.report.drawing import drawing
from swiftprof.report.page import Drawing, Section
from swiftprof.report.patches import check_picture


def read_analysis(path: Path, prefix: str) -> Section:
    """One analysis.

    Args:
        path: its JSON document.
        prefix: unique on the page, for ids inside figures.

    Raises:
        SwiftprofError: not an analysis, or a damaged one.
    """
    document = Document.load(path)
    data = document.parsed()
    figures: list[Drawing] = []
    pictures = []
    if isinstance(data, Pictures):
        for each in data.pictures:
            check_picture(each)
        pictures = list(data.pictures)
    elif data is not None:
        figures = [drawing(data, "", prefix)]
    commands = [document.provenance.command] if document.provenance.command else []
    return Section(
        kind="analysis",
        title=document.title,
        findings=document.findings,
        facts=_facts(document.provenance, data),
        measured=document.measured,
        figures=figures,
        tables=document.tables,
        pictures=pictures,
        headline=document.findings[0] if document.findings else "",
        commands=commands or [f"swiftprof analyze {document.analysis}"],
    )


def _facts(found: Provenance, data: Data | None) -> list[tuple[str, str]]:
    parts = [
        ("model", found.model),
        ("samples", samples_text(data.datasets if data is not None else {})),
        ("splits", ", ".join(f"{n} {s}" for n, s in found.splits.items())),
        ("skipped", ", ".join(f"{n} {s}" for n, s in data.skipped.items()) if data else ""),
        ("seed", "" if found.seed is None else str(found.seed)),
        ("profile", found.profile or ""),
        ("arithmetic", ", ".join(t for t in (found.dtype, found.attention, found.device) if t)),
        ("versions", ", ".join(f"{n} {v}" for n, v in found.versions.items())),
        ("made", f"{found.created} in {found.seconds:.0f} s" if found.created else ""),
    ]
    return [(name, value) for name, value in parts if value]
