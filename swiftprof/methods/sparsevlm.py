"""SparseVLM: text tokens that look at the image rate it; part of what is dropped is recycled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.core.merge import Merged, Rest
    from swiftprof.methods.view import PromptView, StageView

COUNTS = {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)}
"""Tokens kept of 576 at the three stages, by nominal budget (v1.5). What they really retain on
average, recycled tokens counted, is 206.5, 145.4, 114.1 and 82.3."""

_VISUAL = 576
_POOL_TENTHS = 3
_CLUSTER = 10


def recycled(rest: int) -> int:
    """Merged tokens for `rest` dropped ones: a tenth of the better 30 % of them."""
    if rest < 1:
        return 0
    pool = _POOL_TENTHS * rest // 10 + 1
    return min(rest, pool // _CLUSTER + 1)


@dataclass(frozen=True)
class SparseVLM(Method):
    """Keep what the raters attend to; merge the better part of the others by density peaks.

    Raters are the text tokens after the image that stand out when all image features are compared
    with all text embeddings before the first layer. Source: "SparseVLM" (ICML 2025),
    Gumpest/SparseVLMs, v1.5: fixed counts instead of v1.0's rank of the attention matrix. Random
    tie-breaking noise in the clustering is left out.

    Options:
        positions: `compacted` as published, merged tokens behind the kept visual ones; `kept`
            leaves positions alone, merged tokens in their centres' places.
    """

    positions: str = "compacted"

    scoring: ClassVar = "before"
    attends: ClassVar = "raters"
    merges: ClassVar[bool] = True
    merged_apart: ClassVar[bool] = True
    schedule: ClassVar[str] = "published"
    published: ClassVar[tuple[int, ...]] = (3, 8, 17)

    # --- planning

    def published_shares(self, parameter: float, stages: int, n_visual: int) -> list[float]:
        """The v1.5 table read between its rows, from nothing (0) to everything (1).

        The rows' real averages do not matter here: the parameter is solved for the budget.
        """
        return between_rows([_totals(COUNTS[n]) for n in sorted(COUNTS)], parameter, stages)

    def merged_of(self, total: int, present: int, wanted: int, *, last: bool) -> int:
        """Recycled tokens among `total`: what the dropped ones give, the last stage's included."""
        kept = total
        while kept > 1 and kept + recycled(present - kept) > total:
            kept -= 1
        return total - kept

    def least_total(self, present: int, n_visual: int, stage: int) -> int:
        """One kept token and what its rest gives."""
        return min(present, 1 + recycled(present - 1))

    def grouping_cost(self, rest: int, merged: int) -> float:
        """Distances between all tokens of the pool."""
        pool = _POOL_TENTHS * rest // 10 + 1 if merged else 0
        return 2.0 * pool * pool

    # --- running

    def prepare(self, prompt: PromptView) -> Tensor:
        """The raters, `(B, L)` bool: text tokens after the image with more than the mean share."""
        return raters_of(prompt)

    def scores(self, view: StageView) -> Tensor:
        """Attention of the raters in the layer that has just run, softmax over all keys."""
        return view.attention(queries=view.memo)

    def merge(self, rest: Rest) -> Merged:
        """Clusters of the better 30 % of the rest, each merged by its mean; the others are lost."""
        import torch

        from swiftprof.core.cluster import density_peaks
        from swiftprof.core.merge import Merged, mean_merge

        size = rest.present.shape[1]
        most = min(size, max(_POOL_TENTHS * size // 10 + 1, rest.width))
        hidden, present = rest.hidden[:, :most], rest.present[:, :most]  # nobody's pool is larger
        number = rest.present.sum(1, keepdim=True)
        pool = _POOL_TENTHS * number // 10 + 1
        inside = present & (
            torch.arange(most, device=pool.device) < torch.maximum(pool, rest.count)
        )
        centres, group = density_peaks(hidden, inside, rest.count, rest.width)
        return Merged(centres, mean_merge(hidden, inside, group, rest.width))


def _totals(counts: tuple[int, ...]) -> tuple[float, ...]:
    """Kept and recycled tokens after each stage, as shares."""
    totals, present = [], _VISUAL
    for kept in counts:
        present = kept + recycled(present - kept)
        totals.append(present / _VISUAL)
    return tuple(totals)


def between_rows(rows: Sequence[tuple[float, ...]], parameter: float, stages: int) -> list[float]:
    """A published table of three stages read between its rows, from nothing (0) to all (1)."""
    if stages != 3:
        return [parameter ** (number + 1) for number in range(stages)]
    table = [(0.0, 0.0, 0.0), *rows, (1.0, 1.0, 1.0)]
    place = min(max(parameter, 0.0), 1.0) * (len(table) - 1)
    low = min(int(place), len(table) - 2)
    part = place - low
    return [a + part * (b - a) for a, b in zip(table[low], table[low + 1], strict=True)]


def text_behind(prompt: PromptView) -> Tensor:
    """`(B, L)` bool: the text behind the last visual token."""
    import torch

    place = torch.arange(prompt.visual.shape[1], device=prompt.visual.device)
    end = torch.where(prompt.visual, place, -1).amax(1, keepdim=True)
    return prompt.valid & ~prompt.visual & (place > end)


def raters_of(prompt: PromptView) -> Tensor:
    """`(B, L)` bool: text behind the image that takes more than the mean share of the image.

    Every image feature spreads itself over that text by a softmax of products of embeddings,
    without a scale or norm; a token's share is the mean over image features.
    """
    import torch

    from swiftprof.core.layout import compact, gather_tokens

    text = text_behind(prompt)
    seen, there = compact(prompt.visual, prompt.most_visual)
    said, real = compact(text, prompt.most_text)
    match = gather_tokens(prompt.hidden, seen).float() @ gather_tokens(
        prompt.hidden, said
    ).float().transpose(1, 2)  # (B, N, T)
    floor = torch.finfo(match.dtype).min
    share = torch.softmax(match.masked_fill(~real[:, None], floor), dim=-1)
    share = (share * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1)
    share = share.masked_fill(~real, 0.0)
    mean = share.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp_min(1)
    chosen = (share > mean) & real
    return torch.zeros_like(text.long()).scatter_add(1, said, chosen.long()) > 0
