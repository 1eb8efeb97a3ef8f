"""Uniform dropping: evenly spaced tokens, the picture at a lower resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class Uniform(Method):
    """Keep tokens at equal distances in reading order, at later stages among the survivors."""

    attends: ClassVar = "nothing"
    planned: ClassVar[bool] = True

    def scores(self, view: StageView) -> Tensor:
        """1 for the evenly spaced candidates, 0 for the others."""
        from swiftprof.core.select import evenly_spaced

        return evenly_spaced(view.candidates, view.keep).float()
