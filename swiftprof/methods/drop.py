"""Progressive dropping by T-V attention: what remains of SwiftVLM without merging and bypass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method
from swiftprof.methods.options import flag, one_of

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView

DOMAINS = ("all", "visual")


@dataclass(frozen=True)
class Drop(Method):
    """Keep the tokens with the highest T-V score; the others are gone for good.

    The ablation "+ X_S" of paper Table 3: PyramidDrop's scheme with kept positions, at the plan's
    layers.

    Options:
        domain: over which keys the softmax runs, `all` that the last token sees or the `visual`
            candidates alone.
        rope: whether queries and keys are rotated to their positions first.
    """

    domain: str = "all"
    rope: bool = True

    planned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of("domain", self.domain, DOMAINS)
        flag("rope", self.rope)

    def scores(self, view: StageView) -> Tensor:
        """T-V scores of the stage's layer, among the tokens present."""
        return view.attention(
            rope=self.rope, among=view.candidates if self.domain == "visual" else None
        )
