"""Figures of a page: drawn here from validated data, in the page's own colours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from swiftprof.analysis.document import Data
from swiftprof.drawing import ACCENT, FAINT, GRID, INK, MAIN, PAPER, svg_text
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

_STYLE = re.compile(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>")


def drawing(data: Data, caption: str, prefix: str) -> Drawing:
    """The figure of an analysis; `prefix` makes its ids unique on the page."""
    return drawn(data.plot(), caption, prefix)


def drawn(figure: Figure, caption: str, prefix: str) -> Drawing:
    """A figure that was made in this process."""
    return Drawing(_STYLE.sub("", svg_text(figure, prefix, COLOURS)), caption)
