"""Random dropping: the floor that every selection has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.options import whole
from swiftprof.methods.placing import Placed

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class Random(Placed):
    """Keep a random subset of the visual tokens, later stages a subset of the earlier ones'.

    A visual token's draw depends on the seed and on its place among the prompt's visual tokens,
    nothing else: not on the batch, the padding or the device. Two prompts with equally many visual
    tokens keep the same places; vary the seed to average over draws.

    Options:
        seed: any integer.
        first, spread: see `Placed`.
    """

    seed: int = 0

    attends: ClassVar = "nothing"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("seed", self.seed)

    def scores(self, view: StageView) -> Tensor:
        """One draw per visual token, the same at every stage."""
        from swiftprof.core.select import hashed_scores

        return self.spread_out(view, hashed_scores(view.index, self.seed))
