"""Choosing tokens that differ from each other, greedily and without a matrix of all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from swiftprof.core.layout import gather_tokens

AT_ONCE = 256
"""Kept tokens that are compared with the others at the same time; bounds memory."""
_LEAST_GAIN = 1e-10
"""Beyond the rank of the features rounding is all that is left; it must not become NaN."""
_CACHED = 2**18
"""Numbers that a processor's cache holds for sure."""
_THINNED = 8
"""Tokens removed in a round of VisPruner."""


def farthest_points(unit: Tensor, near: Tensor, steps: int) -> Tensor:
    """Again and again the token least near to what is chosen, which then draws the others near.

    Args:
        unit: `(B, R, D)` float32, of length 1.
        near: `(B, R)`, similarity to what is chosen already; infinite where none may be chosen.
        steps: how many to choose.

    Returns:
        `(B, steps)` int64 in `[0, R)`; the first of equals.
    """
    rows = len(unit)
    if unit.device.type == "cpu":  # every step reads `unit` again: from the cache, row by row
        rows = max(1, _CACHED // (unit.shape[1] * unit.shape[2]))
    parts = zip(unit.split(rows), near.split(rows), strict=True)
    return torch.cat([_walk(each, start, steps) for each, start in parts])


def _walk(unit: Tensor, near: Tensor, steps: int) -> Tensor:
    batch, count, size = unit.shape
    flat, start = unit.reshape(-1, size), torch.arange(0, batch * count, count, device=unit.device)
    near, infinite = near.clone(), float("inf")
    picks = []
    for _ in range(steps):
        pick = near.argmin(1)
        picks.append(pick)
        similar = torch.bmm(unit, flat.index_select(0, pick + start)[:, :, None])[..., 0]
        torch.maximum(near, similar, out=near).scatter_(1, pick[:, None], infinite)
    return torch.stack(picks, 1)


def farthest_apart(hidden: Tensor, there: Tensor, steps: int) -> Tensor:
    """The greedy max-min subset: first the token whose nearest other token is farthest.

    Args:
        hidden: `(B, R, D)`, compared by cosine in float32.
        there: `(B, R)` bool.
        steps: how many to choose.

    Returns:
        `(B, steps)` int64 in `[0, R)`, in the order in which they are chosen.
    """
    unit = torch.nn.functional.normalize(hidden.float(), dim=-1)
    place = torch.arange(unit.shape[1], device=unit.device)
    near = torch.full_like(unit[..., 0], float("-inf"))
    for start in range(0, len(place), AT_ONCE):
        some = place[start : start + AT_ONCE]
        similar = unit @ unit[:, some].transpose(1, 2)
        skip = (place[:, None] == some) | ~there[:, None, some]  # itself, and padding
        near = near.maximum(similar.masked_fill(skip, float("-inf")).amax(-1))
    first = near.masked_fill(~there, float("inf")).argmin(1, keepdim=True)
    near = (unit @ gather_tokens(unit, first).transpose(1, 2))[..., 0]
    near = near.masked_fill(~there, float("inf")).scatter_(1, first, float("inf"))
    return torch.cat([first, farthest_points(unit, near, steps - 1)], 1) if steps > 1 else first


def likeliest_set(features: Tensor, there: Tensor, steps: int) -> Tensor:
    """Greedy MAP set of a determinantal point process whose kernel is `features @ features^T`.

    Each step takes the token with the largest part of its feature outside the span of the chosen
    ones, by the incremental Cholesky update of Chen et al. (NeurIPS 2018).

    Args:
        features: `(B, R, D)` float32.
        there: `(B, R)` bool.
        steps: how many to choose.

    Returns:
        `(B, steps)` int64 in `[0, R)`, in the order in which they are chosen.
    """
    gain = features.square().sum(-1).masked_fill(~there, float("-inf"))
    factor = features.new_zeros(len(features), steps, features.shape[1])  # rows of the Cholesky
    picks = []
    for step in range(steps):
        pick = gain.argmax(1, keepdim=True)  # (B, 1), the first of equals
        picks.append(pick)
        row = (features @ gather_tokens(features, pick).transpose(1, 2))[..., 0]
        known = factor[:, :step]
        at_pick = known.gather(2, pick[:, :, None].expand(-1, step, 1))  # (B, step, 1)
        row = row - (known * at_pick).sum(1)
        row = row / gain.gather(1, pick).clamp_min(_LEAST_GAIN).sqrt()
        factor[:, step] = row
        gain = (gain - row.square()).scatter(1, pick, float("-inf"))
    return torch.cat(picks, 1)


def thin_out(features: Tensor, order: Tensor, left: int) -> Tensor:
    """Remove tokens that have a like, a few at a time, until `left` remain (VisPruner).

    The tokens are split by place, even against odd; of the even ones those most similar to an odd
    one go, and what stays stands before the odd ones, by falling similarity, in the next round.

    Args:
        features: `(B, P, C)`, compared by cosine in float32.
        order: `(B, R)` int64, the tokens to begin with, in order.
        left: how many remain.

    Returns:
        `(B, left)` int64, places in `features`.
    """
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    while left and order.shape[1] > left:
        even, odd = order[:, 0::2], order[:, 1::2]
        similar = gather_tokens(unit, even) @ gather_tokens(unit, odd).transpose(1, 2)
        ranked = similar.amax(-1).argsort(dim=1, descending=True, stable=True)
        gone = min(_THINNED, order.shape[1] - left, even.shape[1])
        order = torch.cat([even.gather(1, ranked[:, gone:]), odd], dim=1)
    return order[:, :left]
