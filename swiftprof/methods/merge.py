"""Progressive dropping with merging, but no way back: the ablation "+ X_S + X_M"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.drop import Drop
from swiftprof.methods.options import one_of

if TYPE_CHECKING:
    from swiftprof.core.merge import Merged, Rest

SEEDS = ("best", "even", "random")

_MERGED_LIMIT = 0.5
"""Merged tokens never take more than this part of a stage: in tight budgets selection comes first.
"""


@dataclass(frozen=True)
class Merge(Drop):
    """Keep the tokens with the highest T-V score and merge the others by similarity, for good.

    As in SwiftVLM the last stage merges nothing, so that the two differ in the bypass alone.

    Options:
        seeds: who founds the groups of merged tokens: `best` (the best-scored of the rest), `even`
            (equal distances in reading order) or `random`.
        first, spread: see `Drop`.
    """

    seeds: str = "best"

    merges: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("seeds", self.seeds, SEEDS)

    def merged_of(self, total: int, present: int, wanted: int, *, last: bool) -> int:
        """Z, but at most half of what goes on, and nothing at the last stage."""
        return 0 if last else min(wanted, int(total * _MERGED_LIMIT), present - total)

    def merge(self, rest: Rest) -> Merged:
        """Mean of each group around a seed (paper eq. 10 and 11)."""
        from swiftprof.core.merge import by_seeds

        return by_seeds(rest, self.seeds)
