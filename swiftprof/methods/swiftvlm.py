"""SwiftVLM: independent selections at chosen layers, with merging and bypass (paper §3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from swiftprof.core.merge import SEED_POLICIES
from swiftprof.errors import SwiftprofError, did_you_mean
from swiftprof.methods.base import Method, StageView

__all__ = ["SwiftVLM"]


@dataclass(frozen=True)
class SwiftVLM(Method):
    """Keep the tokens with the highest T-V score; merge the rest; bring it back for the next stage.

    Source: https://arxiv.org/abs/2602.03134.

    Options:
        seeds: who founds the groups of merged tokens: `best` (the best-scored of the rest) or
            `even` (equal distances in reading order).
    """

    seeds: str = "best"

    merges: ClassVar[bool] = True
    bypass: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.seeds not in SEED_POLICIES:
            raise SwiftprofError(
                f"options.seeds: unknown policy {self.seeds!r}; "
                + did_you_mean(str(self.seeds), SEED_POLICIES)
            )

    @property
    def seed_policy(self) -> str:
        return self.seeds

    def scores(self, view: StageView) -> Tensor:
        """T-V scores of the stage's layer."""
        return view.attention()
