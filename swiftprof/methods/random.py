"""Random dropping: the floor that every selection has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method
from swiftprof.methods.options import whole

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


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

    attends: ClassVar = "nothing"
    planned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole("seed", self.seed)

    def scores(self, view: StageView) -> Tensor:
        """One draw per visual token, the same at every stage."""
        from swiftprof.core.select import hashed_scores

        return hashed_scores(view.index, self.seed)
