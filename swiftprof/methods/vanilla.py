"""No pruning: what a plan without stages names as its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class Vanilla(Method):
    """Keep every token."""

    attends: ClassVar = "nothing"
    published: ClassVar[tuple[int, ...]] = ()

    def scores(self, view: StageView) -> Tensor:
        """Refuse: there is nothing to select."""
        raise SwiftprofError("plan: method 'vanilla' keeps every token, so it has no stages")
