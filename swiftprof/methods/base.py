"""What a pruning method is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

__all__ = ["Method", "StageView"]


@dataclass(frozen=True)
class StageView:
    """What a method may look at when it scores a stage.

    Columns are the tokens present at the stage, by ascending slot: for a method with bypass always
    the whole prompt (n = L), otherwise the survivors of the stages before.

    Attributes:
        stage: 0 for the first stage.
        candidates: `(B, n)` bool, the visual tokens among which the stage selects.
        index: `(B, n)` int64, place of a candidate among the visual tokens of the prompt (0 is the
            first in reading order, padding and text do not count); -1 elsewhere.
        keep: `(B, 1)` int64, how many candidates will be kept.
        hidden: `(B, n, D)`, input of the stage's layer.
        attention: computes the T-V scores with the stage layer's own W_Q and W_K: attention of the
            last prompt token over all n columns, `(B, n)` float32, each row sums to 1. Costs a key
            projection, hence a function.
    """

    stage: int
    candidates: Tensor
    index: Tensor
    keep: Tensor
    hidden: Tensor
    attention: Callable[[], Tensor]


@dataclass(frozen=True)
class Method(ABC):
    """A way to choose visual tokens.

    Subclasses are frozen dataclasses; their fields are the plan's `options`.

    Class attributes:
        merges: unselected tokens go on as merged tokens (a stage's `merge`); with bypass not at the
            last stage.
        bypass: unselected tokens come back before the next stage; otherwise they are gone for good,
            and the survivors (merged ones included) are the next stage's candidates.
        seeds: how groups are founded, a key of `swiftprof.core.merge.SEED_POLICIES`.
    """

    merges: ClassVar[bool] = False
    bypass: ClassVar[bool] = False

    @property
    def seed_policy(self) -> str:
        """Name of the policy that founds groups; only asked when `merges` is true."""
        return "best"

    @abstractmethod
    def scores(self, view: StageView) -> Tensor:
        """Score each column, `(B, n)` float32: the best candidates stay, ties to the lower slot."""
