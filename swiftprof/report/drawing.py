"""Figures of a page: drawn here from validated data, in the page's own colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftprof.drawing import ACCENT, FAINT, GRID, INK, MAIN, PAPER, picture_html, svg_text
from swiftprof.report.page import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--line)",
    PAPER: "var(--card)",
    MAIN.lower(): "var(--main)",
    ACCENT.lower(): "var(--warm)",
}
"""Colours of figures -> those of the page, which knows light and dark."""


def drawing(figure: Figure, caption: str, prefix: str) -> Drawing:
    """A figure made in this process; `prefix` makes its ids unique on the page."""
    photographs = sum(len(axes.images) for axes in figure.axes) > 1
    if photographs:
        return Drawing(picture_html(figure, caption), caption)
    return Drawing(svg_text(figure, prefix, COLOURS), caption)
