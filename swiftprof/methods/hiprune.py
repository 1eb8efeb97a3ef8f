"""HiPrune: what the tower's middle layer looks at, its surroundings, then its last layer's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.errors import SwiftprofError
from swiftprof.methods.early import Early

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView

_ANCHORED = 0.1
"""Published share of the tokens that anchors and their four neighbours take."""


@dataclass(frozen=True)
class HiPrune(Early):
    """Keep anchors of the tower's layer 9 of 24, their neighbours, and what its output layer likes.

    A patch counts by the attention that it receives, mean over heads and queries, so that no CLS
    token is needed. Blind to the question. Source: "HiPrune" (arXiv 2508.00553). One grid of
    patches per image only.
    """

    reads_vision: ClassVar[bool] = True
    needs_cls: ClassVar[bool] = False
    tower_depths: ClassVar[tuple[float, ...]] = (9 / 24,)

    def scores(self, view: StageView) -> Tensor:
        """Attention at the output layer; anchors and their neighbours above all others."""
        import torch

        middle, last = view.tower.received
        side = math.isqrt(last.shape[1])
        if side**2 != last.shape[1]:
            raise SwiftprofError(
                f"method 'hiprune' needs a square grid of patches, not {last.shape[1]}: choose "
                "another method"
            )
        count = int(max(view.n_keep) * _ANCHORED / 5 + 0.5)
        anchors = middle.argsort(dim=1, descending=True, stable=True)[:, :count]
        row, column = anchors // side, anchors % side
        around = [
            (row + down).clamp(0, side - 1) * side + (column + right).clamp(0, side - 1)
            for down, right in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
        ]
        raised = torch.zeros_like(last).scatter(1, torch.cat(around, 1), 2.0)
        return view.at_tokens(last + raised)
