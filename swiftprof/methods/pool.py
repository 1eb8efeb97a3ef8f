"""The picture at a lower resolution: the mean of each cell of a coarser grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.errors import SwiftprofError
from swiftprof.methods.early import Early

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class Pool(Early):
    """Average-pool the grid of image tokens to N cells: the baseline that every method should beat.

    See "VTC-Bench" (ACL 2026), which finds that plain downsampling beats many methods. The grid is
    cut into about sqrt(N) bands of rows, each band into cells, N in all; a cell's mean goes on in
    the place of its first token. Needs a square number of visual tokens.
    """

    pools: ClassVar[bool] = True

    def scores(self, view: StageView) -> Tensor:
        """1 at the first token of each cell."""
        for count in view.n_visual:
            if math.isqrt(count) ** 2 != count:
                raise SwiftprofError(
                    f"method 'pool' averages over the grid of a square image; {count} visual "
                    "tokens are no square: choose another method"
                )
        return self._cells(view)[1].float()

    def pool(self, view: StageView) -> Tensor:
        """Each cell's mean at its first token."""
        import torch

        from swiftprof.core.layout import gather_tokens
        from swiftprof.core.merge import mean_merge

        cell, first = self._cells(view)
        mean = mean_merge(view.hidden, view.candidates, cell, max(view.n_keep))
        return torch.where(first[..., None], gather_tokens(mean, cell), view.hidden)

    def _cells(self, view: StageView) -> tuple[Tensor, Tensor]:
        """The cell of each visual token, 0 elsewhere; and whether it is the first one there."""
        import torch

        wanted = view.keep.clamp_min(1)
        side = view.candidates.sum(1, keepdim=True).double().sqrt().round().long().clamp_min(1)
        bands = wanted.double().sqrt().round().long().clamp_min(1)
        row, column = view.index.clamp_min(0) // side, view.index.clamp_min(0) % side
        band = row * bands // side
        before, behind = wanted * band // bands, wanted * (band + 1) // bands
        cells = behind - before  # of this band
        place = column * cells // side
        top = (row == 0) | ((row - 1) * bands // side != band)
        left = (column == 0) | ((column - 1) * cells // side != place)
        cell = torch.where(view.candidates, before + place, 0)
        return cell, view.candidates & top & left
