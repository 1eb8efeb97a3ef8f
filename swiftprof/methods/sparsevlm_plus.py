"""SparseVLM+: raters again, in a few heads, without the pull of position or recycling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method
from swiftprof.methods.sparsevlm import between_rows, raters_of

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import PromptView, StageView

COUNTS = {192: (300, 200, 118), 128: (238, 108, 60), 96: (246, 54, 28), 64: (66, 34, 20)}
"""Tokens kept of 576 at the three stages, by nominal budget."""

_VISUAL = 576
_HEADS = 14 / 32


@dataclass(frozen=True)
class SparseVLMPlus(Method):
    """Keep what the raters attend to in the heads that look at the image most; positions are kept.

    Attention is first divided by what RoPE alone gives two all-ones vectors at the distance of
    query and key. Then the 14 of 32 heads with the most attention from raters to image count.
    Source: Gumpest/SparseVLMs, version 2.0; raters as in SparseVLM.
    """

    scoring: ClassVar = "before"
    attends: ClassVar = "raters"
    schedule: ClassVar[str] = "published"
    published: ClassVar[tuple[int, ...]] = (3, 8, 17)

    def published_shares(self, parameter: float, stages: int, n_visual: int) -> list[float]:
        """The table read between its rows, from nothing (0) to everything (1)."""
        rows = [tuple(c / _VISUAL for c in COUNTS[n]) for n in sorted(COUNTS)]
        return between_rows(rows, parameter, stages)

    def prepare(self, prompt: PromptView) -> Tensor:
        """The raters, `(B, L)` bool."""
        return raters_of(prompt)

    def scores(self, view: StageView) -> Tensor:
        """Mean over raters and the chosen heads."""
        assert view.memo is not None
        rows, weight = view.rows(view.memo)  # (B, H, Q, n), (B, Q)
        heads = (rows * weight[:, None, :, None]).sum(2)  # mean over raters
        seen = (heads * view.candidates[:, None]).sum(-1)  # (B, H)
        count = max(1, round(_HEADS * seen.shape[1]))
        best = seen.argsort(dim=1, descending=True, stable=True)[:, :count]
        return heads.gather(1, best[..., None].expand(-1, -1, heads.shape[-1])).mean(1)
