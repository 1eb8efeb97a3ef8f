"""Figures of a page: drawn here from validated data, in the page's own colours."""

from __future__ import annotations

import re

from pydantic import BaseModel

from swiftprof.report.figures import figure_of
from swiftprof.report.page import Drawing
from swiftprof.report.style import ACCENT, FAINT, GRID, INK, MAIN, PAPER, svg_text

COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--line)",
    PAPER: "var(--card)",
    MAIN.lower(): "var(--main)",
    ACCENT.lower(): "var(--warm)",
}
"""Colours of figures -> those of the page, which knows light and dark."""

_STYLE = re.compile(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>")


def drawing(name: str, data: BaseModel, caption: str, prefix: str | None = None) -> Drawing:
    """The figure of an analysis; `prefix` makes its ids unique on the page."""
    svg = svg_text(figure_of(name, data), prefix or f"{name}-", COLOURS)
    return Drawing(_STYLE.sub("", svg), caption)
