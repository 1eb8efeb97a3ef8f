"""PyramidDrop: dropping at equal depths, positions renumbered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method
from swiftprof.methods.depths import scaled

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView

_RATIO = 270 / 576
"""Retained by the published setting: layers 8, 16, 24 of 32, half of the tokens at each."""
_EARLY = (2, 9, 17, 25)
"""Layers of the field's tables at 192, 128 and 64 of 576 tokens: a first cut after layer 2."""


@dataclass(frozen=True)
class PDrop(Method):
    """Drop a constant share of the tokens at equal depths, judged by the layer that runs next.

    Source: "PyramidDrop" (CVPR 2025), Cooperx521/PyramidDrop. The published setting prunes after
    layers 8, 16 and 24 of 32 and retains 270 of 576 tokens on average. For less, a first cut after
    layer 2 is added, as third-party tables at 192, 128 and 64 tokens do.

    Options:
        positions: `compacted` renumbers the survivors after every stage, as published; `kept`
            leaves every token its position (the paper's Table 3 calls this its baseline).
    """

    positions: str = "compacted"

    scoring: ClassVar = "next"
    published: ClassVar[tuple[int, ...]] = (8, 17, 25)

    def default_layers(self, num_layers: int, ratio: float | None = None) -> tuple[int, ...]:
        """The published layers, with an early one before them where the budget asks for less."""
        less = ratio is not None and ratio < _RATIO - 1e-3
        return scaled(_EARLY if less else self.published, num_layers)

    def scores(self, view: StageView) -> Tensor:
        """T-V scores with the next layer's weights, at the survivors' present positions."""
        return view.attention()
