"""Choosing tokens that differ: subsets far apart, and spreading part of a selection.

The last prompt token attends to what the question names and drops what lies around it. Filling a
share of every selection by dissimilarity keeps a sparse view of the rest of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swiftprof.core.counts import best_count
from swiftprof.core.layout import gather_tokens

_AT_ONCE = 256
"""Kept tokens that are compared with the others at the same time; bounds memory."""

_LEAST_GAIN = 1e-10
"""Beyond the rank of the features rounding is all that is left; it must not become NaN."""
_THINNED = 8
"""Tokens removed in a round of VisPruner."""


def spread_out(
    hidden: Tensor,
    order: Tensor,
    candidates: Tensor,
    keep: Tensor,
    share: float,
    n_keep: Sequence[int],
    n_candidates: Sequence[int],
) -> Tensor:
    """Choose the best-scored tokens, then one by one the token least similar to all chosen before.

    Similarity is the cosine of hidden states; a token's similarity to a set is that to its most
    similar member. Ties go to the better score. Each step compares one token with all that are left
    (farthest-point updates), so no matrix of all pairs exists.

    Args:
        hidden: `(B, n, D)`, any float type; compared in float32.
        order: `(B, n)` int64, columns from best to worst score, candidates first (`select.rank`).
        candidates: `(B, n)` bool.
        keep: `(B, 1)` int64, how many each row chooses, at most its number of candidates.
        share: of them that is spread, in [0, 1]; the first is always the best-scored one.
        n_keep, n_candidates: `keep` and the number of candidates of each row on the host, so that
            no device result has to be read.

    Returns:
        `(B, n)` bool, `keep` true values in each row.
    """
    scored = [best_count(k, share) for k in n_keep]
    width, steps = max(scored), max(k - b for k, b in zip(n_keep, scored, strict=True))
    left = max(n - b for n, b in zip(n_candidates, scored, strict=True))
    best = (keep.double() * (1 - share) + 0.5).floor().long().clamp_min(1).minimum(keep)
    columns = torch.arange(order.shape[1], device=order.device)
    chosen = torch.zeros_like(candidates).scatter(1, order, columns < best)
    if not steps:
        return chosen
    unit = torch.nn.functional.normalize(hidden.float(), dim=-1)
    places = columns[:left]
    at = order.gather(1, (best + places).clamp_max(order.shape[1] - 1))  # best score first
    rest = gather_tokens(unit, at)  # (B, R, D), only what is not chosen yet is compared
    near = torch.full_like(rest[..., 0], float("-inf"))  # similarity to what is chosen
    for start in range(0, width, _AT_ONCE):
        some = columns[start : min(start + _AT_ONCE, width)]
        similar = rest @ gather_tokens(unit, order[:, some]).transpose(1, 2)
        unused = (some >= best)[:, None]  # rows that chose fewer by score
        near = near.maximum(similar.masked_fill(unused, float("-inf")).amax(-1))
    there = candidates.sum(1, keepdim=True)
    near = near.masked_fill(best + places >= there, float("inf"))
    picked = at.gather(1, _farthest(rest, near, steps))
    # A row that chooses fewer than `steps` points at its best token, which is chosen anyway.
    picked = torch.where(columns[:steps] < keep - best, picked, order[:, :1])
    return chosen.scatter(1, picked, (keep > 0).expand_as(picked))


def _farthest(unit: Tensor, near: Tensor, steps: int) -> Tensor:
    """Again and again the token least near to what is chosen, which then draws the others near.

    Args:
        unit: `(B, R, D)` float32, of length 1.
        near: `(B, R)`, similarity to what is chosen already; infinite where none may be chosen.
        steps: how many to choose.

    Returns:
        `(B, steps)` int64 in `[0, R)`; the first of equals.
    """
    picks = []
    for _ in range(steps):
        pick = near.argmin(1, keepdim=True)
        picks.append(pick)
        similar = (unit @ gather_tokens(unit, pick).transpose(1, 2))[..., 0]
        near = near.maximum(similar).scatter_(1, pick, float("inf"))
    return torch.cat(picks, 1)


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
    for start in range(0, len(place), _AT_ONCE):
        some = place[start : start + _AT_ONCE]
        similar = unit @ unit[:, some].transpose(1, 2)
        skip = (place[:, None] == some) | ~there[:, None, some]  # itself, and padding
        near = near.maximum(similar.masked_fill(skip, float("-inf")).amax(-1))
    first = near.masked_fill(~there, float("inf")).argmin(1, keepdim=True)
    near = (unit @ gather_tokens(unit, first).transpose(1, 2))[..., 0]
    near = near.masked_fill(~there, float("inf")).scatter_(1, first, float("inf"))
    return torch.cat([first, _farthest(unit, near, steps - 1)], 1) if steps > 1 else first


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
