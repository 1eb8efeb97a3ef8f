"""Spreading a selection: part of it goes to the tokens that are least like what is kept already.

The last prompt token attends to what the question names and drops what lies around it. Filling a
share of every selection by dissimilarity keeps a sparse view of the rest of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swiftprof.core.apart import AT_ONCE, farthest_points
from swiftprof.core.counts import best_count
from swiftprof.core.layout import gather_tokens


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
    for start in range(0, width, AT_ONCE):
        some = columns[start : min(start + AT_ONCE, width)]
        similar = rest @ gather_tokens(unit, order[:, some]).transpose(1, 2)
        unused = (some >= best)[:, None]  # rows that chose fewer by score
        near = near.maximum(similar.masked_fill(unused, float("-inf")).amax(-1))
    there = candidates.sum(1, keepdim=True)
    near = near.masked_fill(best + places >= there, float("inf"))
    picked = at.gather(1, farthest_points(rest, near, steps))
    # A row that chooses fewer than `steps` points at its best token, which is chosen anyway.
    picked = torch.where(columns[:steps] < keep - best, picked, order[:, :1])
    return chosen.scatter(1, picked, (keep > 0).expand_as(picked))
