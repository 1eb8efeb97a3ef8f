"""Progressive dropping by T-V attention: what remains of SwiftVLM without merging and bypass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftprof.methods.options import flag, one_of
from swiftprof.methods.placing import Placed

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView

DOMAINS = ("all", "visual")


@dataclass(frozen=True)
class Drop(Placed):
    """Keep the tokens with the highest T-V score; the others are gone for good.

    The ablation "+ X_S" of paper Table 3: PyramidDrop's scheme with kept positions, at the plan's
    layers.

    Options:
        domain: over which keys the softmax runs, `all` that the last token sees or the `visual`
            candidates alone.
        rope: whether queries and keys are rotated to their positions first.
        first, spread: see `Placed`.
    """

    domain: str = "all"
    rope: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, DOMAINS)
        flag("rope", self.rope)

    def scores(self, view: StageView) -> Tensor:
        """T-V scores of the stage's layer, among the tokens present."""
        among = view.candidates if self.domain == "visual" else None
        return self.spread_out(view, view.attention(rope=self.rope, among=among))
