"""DivPrune: the tokens that lie farthest apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftprof.methods.early import Early

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class DivPrune(Early):
    """Keep a subset whose least distance is as large as a greedy choice makes it.

    Blind to the question. The first token is the one whose nearest neighbour is farthest; then
    again and again the token farthest from all chosen. Distance is 1 - cosine of the embeddings.
    Source: "DivPrune" (CVPR 2025), vbdi/divprune.
    """

    def spreading_cost(self, present: int, kept: int) -> float:
        """All pairs for the first token, then each chosen one with all."""
        return float(present * (present + kept))

    def scores(self, view: StageView) -> Tensor:
        """1 at the chosen tokens."""
        from swiftprof.core.apart import farthest_apart
        from swiftprof.core.layout import compact, gather_tokens, mark

        columns, there = compact(view.candidates, max(view.n_candidates))
        chosen = farthest_apart(gather_tokens(view.hidden, columns), there, max(view.n_keep))
        return mark(columns.gather(1, chosen), view.keep, view.candidates)
