"""No pruning: what a plan without stages names as its method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method, StageView

__all__ = ["Vanilla"]


@dataclass(frozen=True)
class Vanilla(Method):
    """Keep every token."""

    def scores(self, view: StageView) -> Tensor:
        """Refuse: there is nothing to select."""
        raise SwiftprofError("plan: method 'vanilla' keeps every token, so it has no stages")
