"""VisionZip: image features are reduced in the vision tower, before the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.core.merge import Merged, Rest
    from swiftprof.methods.view import StageView

_CONTEXTUAL = 10 / 64
"""Contextual tokens' share of all, as in the published 54 dominant and 10 contextual ones."""


@dataclass(frozen=True)
class VisionZip(Method):
    """Keep the patches to which the CLS token attends most, the CLS token, and merged others.

    Blind to the question. Source: "VisionZip" (CVPR 2025), dvlab-research/VisionZip. A plan's
    `merge` counts the CLS token and the contextual tokens. The order is published: the CLS token,
    the patches in reading order, the contextual tokens; positions have no gaps. A contextual token
    is its target and, on top, the mean of what joins it. Models with a CLS token and one grid of
    patches per image only.
    """

    merges: ClassVar[bool] = True
    merged_apart: ClassVar[bool] = True
    reads_vision: ClassVar[bool] = True
    scoring: ClassVar = "next"
    attends: ClassVar = "nothing"
    earliest: ClassVar[int] = 0
    schedule: ClassVar[str] = "uniform"
    published: ClassVar[tuple[int, ...]] = (0,)
    positions: ClassVar[str] = "compacted"

    # --- planning

    def default_layers(self, num_layers: int, ratio: float | None = None) -> tuple[int, ...]:
        """Before the decoder."""
        return self.published

    def merged_of(self, total: int, present: int, wanted: int, *, last: bool) -> int:
        """The CLS token and the contextual tokens."""
        return min(total - 1, 1 + max(1, int(_CONTEXTUAL * total + 0.5)))

    def least_total(self, present: int, n_visual: int, stage: int) -> int:
        """A patch, the CLS token and a contextual token."""
        return min(present, 3)

    def grouping_cost(self, rest: int, merged: int) -> float:
        """Happens in the vision tower, which these costs leave out."""
        return 0.0

    # --- running

    def scores(self, view: StageView) -> Tensor:
        """The CLS token's attention at the patches."""
        return view.at_tokens(view.tower.attention)

    def merge(self, rest: Rest) -> Merged:
        """The CLS token, then the contextual tokens: evenly spaced targets and their nearest."""
        import torch

        from swiftprof.core.layout import gather_tokens
        from swiftprof.core.merge import Merged, assign, mean_merge

        vision, targets = rest.vision, rest.width - 1
        far = torch.iinfo(rest.index.dtype).max
        reading = rest.index.masked_fill(~rest.present, far).argsort(dim=1, stable=True)
        number = rest.present.sum(1, keepdim=True)
        wanted = (rest.count - 1).clamp_min(0)
        step = (number // wanted.clamp_min(1)).clamp_min(1)
        each = torch.arange(targets, device=rest.index.device)
        used = each < wanted
        place = (each * step).clamp_max(reading.shape[1] - 1)
        seeds = reading.gather(1, place)
        last = reading.gather(1, (number - 1).clamp_min(0))  # never a target: they leave it free

        at = rest.index.clamp(0, vision.patches.shape[1] - 1)
        patches, keys = gather_tokens(vision.patches, at), gather_tokens(vision.keys, at)
        group = assign(keys, seeds, used)
        is_target = torch.zeros_like(rest.present)
        spare = torch.cat([is_target, is_target[:, :1]], dim=1)
        where = torch.where(used, seeds, is_target.shape[1])
        is_target = spare.scatter(1, where, True)[:, :-1]
        target = gather_tokens(patches, seeds)
        merged = target + mean_merge(patches, rest.present & ~is_target, group, targets)
        features = torch.cat([vision.cls[:, None], merged], dim=1)
        tokens = vision.project(features).to(rest.hidden.dtype)
        return Merged(torch.cat([last, seeds], dim=1), tokens, front=1)
