"""FEATHER: attention without positions, and an evenly spaced grid that always survives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method
from swiftprof.methods.depths import scaled
from swiftprof.methods.options import whole

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView

_KEEP = 0.3
"""Published share of tokens that attention keeps at the first stage."""


@dataclass(frozen=True)
class Feather(Method):
    """Two stages, judged without RoPE and by a softmax over the image alone.

    The first keeps the grid of every `stride`-th row and column beside the best-scored tokens, the
    second the best-scored of those. Source: "Feather the Throttle" (ICCV 2025), markendo/FEATHER:
    before layers 8 and 16 of 32 (from 0), a share of 0.3 and then 0.3² of what is there. Its first
    stage keeps the top 30 % and the grid, so that the number kept differs with their overlap; here
    the plan's number is exact, and attention fills up what the grid leaves. Several images have a
    grid each; of images cut into tiles there is none.

    Options:
        stride: distance s of the grid's rows and columns.
    """

    stride: int = 3

    scoring: ClassVar = "before"
    reads_grid: ClassVar[bool] = True
    schedule: ClassVar[str] = "published"
    published: ClassVar[tuple[int, ...]] = (8, 17)

    def __post_init__(self) -> None:
        whole("stride", self.stride, 1)

    # --- planning

    def grid_size(self, n_visual: int) -> int:
        """Tokens of the grid; of a number that is no square, as if it were the next smaller."""
        return math.ceil(math.isqrt(n_visual) / self.stride) ** 2

    def default_layers(self, num_layers: int, ratio: float | None = None) -> tuple[int, ...]:
        """The published layers, moved up together while the published shares exceed the budget."""
        first, depth = self.published[0], 32
        while ratio is not None and first > 1:
            one, two = self.published_shares(_KEEP, 2, 576)
            average = (first + first * one + (depth - 2 * first) * two) / depth
            if average <= ratio:
                break
            first -= 1
        return scaled((first, 2 * first + 1), num_layers)

    def published_shares(self, parameter: float, stages: int, n_visual: int) -> list[float]:
        """The expected union of grid and best `parameter` of all, then its square of those."""
        grid = self.grid_size(n_visual) / n_visual
        union = parameter + (1 - parameter) * grid
        return [union * parameter ** (2 * number) for number in range(stages)]

    def least_total(self, present: int, n_visual: int, stage: int) -> int:
        """The grid at the first stage."""
        return self.grid_size(n_visual) if stage == 0 else 1

    # --- running

    def scores(self, view: StageView) -> Tensor:
        """Attention without RoPE over the candidates; at the first stage the grid comes first."""
        scores = view.attention(rope=False, among=view.candidates)
        return scores + self._grid(view) if view.stage == 0 else scores

    def _grid(self, view: StageView) -> Tensor:
        """2 at the tokens of the grid of each image, more than any attention; else 0."""
        row, column = view.row, view.column
        assert row is not None
        assert column is not None
        on = (row % self.stride == 0) & (column % self.stride == 0) & view.candidates
        return 2.0 * on.float()
