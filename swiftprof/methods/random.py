"""Random dropping: the floor that every selection has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swiftprof.core.select import hashed_scores
from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method, StageView

__all__ = ["Random"]


@dataclass(frozen=True)
class Random(Method):
    """Keep a random subset of the visual tokens, later stages a subset of the earlier ones'.

    A visual token's draw depends on the seed and on its place among the prompt's visual tokens,
    nothing else: not on the batch, the padding or the device. Two prompts with equally many visual
    tokens keep the same places; vary the seed to average over draws.

    Options:
        seed: any integer.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise SwiftprofError(f"options.seed: must be an integer, not {self.seed!r}")

    def scores(self, view: StageView) -> Tensor:
        """One draw per visual token, the same at every stage."""
        return hashed_scores(view.index, self.seed)
