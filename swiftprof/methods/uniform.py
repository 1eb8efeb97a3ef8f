"""Uniform dropping: evenly spaced tokens, the picture at a lower resolution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swiftprof.core.select import evenly_spaced
from swiftprof.methods.base import Method, StageView

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform(Method):
    """Keep tokens at equal distances in reading order, at later stages among the survivors."""

    def scores(self, view: StageView) -> Tensor:
        """1 for the evenly spaced candidates, 0 for the others."""
        return evenly_spaced(view.candidates, view.keep).float()
