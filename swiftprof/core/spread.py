"""Spreading a selection: part of it goes to the tokens that are least like what is kept already.

The last prompt token attends to what the question names and drops what lies around it. Filling a
share of every selection by dissimilarity keeps a sparse view of the rest of the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swiftprof.core.counts import round_half_up
from swiftprof.core.layout import gather_tokens

_AT_ONCE = 256
"""Kept tokens that are compared with all others at the same time: bounds memory, not results."""


def best_count(keep: int, share: float) -> int:
    """How many of `keep` tokens are chosen by score when a share is spread; at least one."""
    return min(keep, max(1, round_half_up(keep * (1 - share))))


def spread_out(
    hidden: Tensor, order: Tensor, candidates: Tensor, keep: Tensor, share: float, most: int
) -> Tensor:
    """Choose the best-scored tokens, then one by one the token least similar to all chosen before.

    Similarity is the cosine of hidden states; a token's similarity to a set is that to its most
    similar member. Ties go to the lower column. Each step compares one token with all others
    (farthest-point updates), so no matrix of all pairs exists: `keep * n * D` products in all.

    Args:
        hidden: `(B, n, D)`, any float type; compared in float32.
        order: `(B, n)` int64, columns from best to worst score, candidates first (`select.rank`).
        candidates: `(B, n)` bool.
        keep: `(B, 1)` int64, how many each row chooses, at most its number of candidates.
        share: of them that are spread, in [0, 1]; the first is always the best-scored one.
        most: the largest `keep` on the host, so that no device result has to be read.

    Returns:
        `(B, n)` bool, `keep` true values in each row.
    """
    width = best_count(most, share)
    best = ((keep.double() * (1 - share) + 0.5).floor().long()).clamp(min=1).minimum(keep)
    places = torch.arange(order.shape[1], device=order.device)
    chosen = torch.zeros_like(candidates).scatter(1, order, places < best)
    unit = torch.nn.functional.normalize(hidden.float(), dim=-1)
    near = torch.full_like(unit[..., 0], float("-inf"))  # similarity to what is chosen
    for start in range(0, width, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, width))
        similar = unit @ gather_tokens(unit, order[:, part]).transpose(1, 2)  # (B, n, part)
        unused = places[part] >= best  # rows that chose fewer by score
        near = near.maximum(similar.masked_fill(unused[:, None], float("-inf")).amax(-1))
    near = near.masked_fill(chosen | ~candidates, float("inf"))
    for step in range(most - width):
        next_one = near.argmin(1, keepdim=True)  # (B, 1), the first of equals
        wanted = best + step < keep  # (B, 1), rows that still choose
        chosen.scatter_(1, next_one, chosen.gather(1, next_one) | wanted)
        similar = (unit @ gather_tokens(unit, next_one).transpose(1, 2))[..., 0]
        near = near.maximum(similar).scatter(1, next_one, float("inf"))
    return chosen
