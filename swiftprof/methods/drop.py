"""Progressive dropping by T-V attention: what remains of SwiftVLM without merging and bypass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swiftprof.methods.base import Method, StageView

__all__ = ["Drop"]


@dataclass(frozen=True)
class Drop(Method):
    """Keep the tokens with the highest T-V score; the others are gone for good.

    The ablation "+ X_S" of paper Table 3: PyramidDrop's scheme with kept positions, at the plan's
    layers.
    """

    def scores(self, view: StageView) -> Tensor:
        """T-V scores of the stage's layer, among the survivors."""
        return view.attention()
