"""A document of `swiftprof analyze` as a section. Its figure is drawn anew from its data."""

from __future__ import annotations

from pathlib import Path

from swiftprof.analysis.document import Document
from swiftprof.report.drawing import drawing
from swiftprof.report.page import Section, typed
from swiftprof.tables import samples_text


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
        figures=[] if data is None else [drawing(data.plot(), "", prefix)],
        tables=document.tables,
        headline=document.findings[0] if document.findings else "",
        command=document.command or typed("analyze", document.analysis),
    )
