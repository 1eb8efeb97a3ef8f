"""Progressive dropping by T-V attention: what remains of SwiftVLM without merging and bypass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftprof.methods.placing import Placed

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class Drop(Placed):
    """Keep the tokens with the highest T-V score; the others are gone for good.

    The ablation "+ X_S" of paper Table 3: PyramidDrop's scheme with kept positions, at the plan's
    layers.

    Options:
        first, spread: see `Placed`.
    """

    def scores(self, view: StageView) -> Tensor:
        """T-V scores of the stage's layer, among the tokens present."""
        return self.spread_out(view, view.attention())
