"""SwiftVLM: independent selections at chosen layers, with merging and bypass (paper §3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.merge import Merge
from swiftprof.methods.options import flag, one_of

if TYPE_CHECKING:
    from swiftprof.core.merge import Merged, Rest


@dataclass(frozen=True)
class SwiftVLM(Merge):
    """Keep the tokens with the highest T-V score; merge the rest; bring it back for the next stage.

    Source: https://arxiv.org/abs/2602.03134. Options as in `Merge`, and:

    Options:
        last: what becomes of the rest at the last stage: `drop` as in the paper, or `merge`, for
            good.
        proportional: add log g to the attention logits at a merged token that stands for g tokens,
            as in ToMe (https://arxiv.org/abs/2210.09461), so that it weighs like all of them.
    """

    last: str = "drop"
    proportional: bool = False

    bypass: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("last", self.last, ("drop", "merge"))
        flag("proportional", self.proportional)

    @property
    def merges_last(self) -> bool:
        return self.last == "merge"

    @property
    def weighs_merged(self) -> bool:
        return self.proportional

    def merged_of(self, total: int, present: int, wanted: int, *, last: bool) -> int:
        """As `Merge`, and the same at the last stage where the rest is merged there."""
        return super().merged_of(total, present, wanted, last=last and not self.merges_last)

    def merge(self, rest: Rest) -> Merged:
        """As `Merge`, with the sizes of the groups where they weigh in attention."""
        from swiftprof.core.merge import group_sizes

        merged = super().merge(rest)
        if not self.proportional or merged.group is None:
            return merged
        return replace(merged, size=group_sizes(rest.present, merged.group, rest.width))
