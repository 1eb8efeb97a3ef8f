"""Analyses: why a plan works, or does not. One analysis is one file, and one name in `NAMES`.

A file has a frozen dataclass, the analysis: its fields are its options, its docstring is the help
of its command, its `run` measures. And it has `Data`, what was measured, which describes and draws
itself. The command, its part of `analyze all` and its section of a report follow from these.
Heavy libraries are imported inside functions: a command's help must stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swiftprof.analysis.base import Analysis

NAMES = ("curve", "stability", "ranks", "pictures", "pareto")
"""In the order in which they tell the story."""


def analysis(name: str) -> type[Analysis]:
    """The class of an analysis in `NAMES`."""
    found: type[Analysis] = importlib.import_module(f"swiftprof.analysis.{name}").ANALYSIS
    return found
