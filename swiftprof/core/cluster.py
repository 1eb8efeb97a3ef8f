"""Grouping by density peaks, the recycling step of SparseVLM (DPC-KNN)."""

from __future__ import annotations

import torch
from torch import Tensor

from swiftprof.core.layout import gather_tokens


def density_peaks(
    hidden: Tensor, present: Tensor, count: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Cluster centres of high density far from anything denser, and the cluster of each token.

    Distances are Euclidean, divided by the root of the width D. A token's density is exp(-m), m the
    mean of its squared distances to its Z nearest tokens, itself included; its separation is the
    distance to the nearest denser token (the greatest distance of all for the densest). The Z
    tokens with the largest density x separation are centres; every token joins its nearest centre.
    The published code breaks ties between densities by random noise; here the earlier token counts
    as denser, so that a run can be repeated.

    Args:
        hidden: `(B, R, D)`, compared in float32.
        present: `(B, R)` bool, the tokens that are clustered.
        count: `(B, 1)` int64, Z of each row.
        width: the largest Z, a host integer.

    Returns:
        centres: `(B, width)` int64, of which the first Z of a row are used; distinct.
        group: `(B, R)` int64 in `[0, width)`; arbitrary where not present.
    """
    size = hidden.shape[1]
    there = present[:, :, None] & present[:, None, :]
    points = hidden.float()
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distance = (distance / hidden.shape[-1] ** 0.5).masked_fill(~there, float("inf"))
    near = distance.square().sort(dim=-1).values[..., : min(width, size)]
    counted = torch.arange(near.shape[-1], device=hidden.device) < count[..., None]
    near = near.masked_fill(~counted | near.isinf(), 0.0)
    nearest = torch.minimum(count, present.sum(1, keepdim=True)).clamp_min(1)
    density = torch.exp(-near.sum(-1) / nearest)  # (B, R)

    place = torch.arange(size, device=hidden.device)
    ahead = (density[:, None, :] > density[:, :, None]) | (
        (density[:, None, :] == density[:, :, None]) & (place[None, :] < place[:, None])
    )
    far = distance.masked_fill(~there, 0.0).amax((1, 2))[:, None]
    gap = distance.masked_fill(~(ahead & there), float("inf")).amin(-1)
    separation = torch.where(gap.isinf(), far.expand_as(gap), gap)
    score = (separation * density).masked_fill(~present, -1.0)
    centres = score.argsort(dim=1, descending=True, stable=True)[:, :width]

    used = torch.arange(width, device=hidden.device) < count
    to_centre = gather_tokens(distance, centres).transpose(1, 2)  # (B, R, Z)
    group = to_centre.masked_fill(~used[:, None], float("inf")).argmin(-1)
    own = torch.arange(width, device=hidden.device).expand_as(centres)
    spare = torch.cat([group, group.new_zeros(len(group), 1)], dim=1)
    group = spare.scatter(1, torch.where(used, centres, size), own)[:, :size]
    return centres, group
