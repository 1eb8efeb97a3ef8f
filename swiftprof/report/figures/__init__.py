"""Figures of analyses, one file each: `draw` makes a figure from an analysis' `Data` alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pydantic import BaseModel

from swiftprof.report.style import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_of"]


def figure_of(name: str, data: BaseModel) -> Figure:
    """The figure of an analysis in `swiftprof.analysis.REGISTRY`."""
    with plain():
        figure: Figure = importlib.import_module(f"swiftprof.report.figures.{name}").draw(data)
    return figure
