"""Spreading a selection: part of it goes to the tokens that are least like what is kept already.

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
"""Kept tokens that are compared with the others at the same time."""
_PAIRS = 1 << 25
"""Similarities between pairs of tokens that exist at the same time (128 MiB): a batch is worked off
in parts. More only where one prompt alone has more than 5,800 tokens to choose from."""


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
    similar member. Ties go to the better score.

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
    there = candidates.sum(1, keepdim=True)
    together = max(1, _PAIRS // left**2)
    parts = [
        _farthest(hidden[rows], order[rows], best[rows], there[rows], width, left, steps)
        for rows in (slice(at, at + together) for at in range(0, len(hidden), together))
    ]
    # A row that chooses fewer than `steps` points at its best token, which is chosen anyway.
    picked = torch.where(columns[:steps] < keep - best, torch.cat(parts), order[:, :1])
    return chosen.scatter(1, picked, (keep > 0).expand_as(picked))


def _farthest(
    hidden: Tensor, order: Tensor, best: Tensor, there: Tensor, width: int, left: int, steps: int
) -> Tensor:
    """Columns in the order in which they are chosen beside the `best` ones, `(B, steps)`."""
    unit = torch.nn.functional.normalize(hidden.float(), dim=-1)
    places = torch.arange(left, device=order.device)
    columns = order.gather(1, (best + places).clamp_max(order.shape[1] - 1))  # best score first
    rest = gather_tokens(unit, columns)  # (B, R, D)
    near = torch.full_like(rest[..., 0], float("-inf"))  # similarity to what is chosen
    for start in range(0, width, _AT_ONCE):
        part = order[:, start : min(start + _AT_ONCE, width)]
        similar = rest @ gather_tokens(unit, part).transpose(1, 2)
        unused = torch.arange(start, start + part.shape[1], device=order.device) >= best
        near = near.maximum(similar.masked_fill(unused[:, None], float("-inf")).amax(-1))
    near = near.masked_fill(best + places >= there, float("inf"))
    pairs = rest @ rest.transpose(1, 2)
    pairs.diagonal(dim1=1, dim2=2).fill_(float("inf"))  # what is chosen is not chosen again
    return columns.gather(1, farthest_points(pairs, near, steps))


def farthest_points(pairs: Tensor, near: Tensor, steps: int) -> Tensor:
    """Again and again the least near token, which then draws the others near.

    Args:
        pairs: `(B, R, R)` float32, similarities, infinite on the diagonal.
        near: `(B, R)` float32, similarity to what is chosen already; infinite where none may be.
        steps: how many to choose.

    Returns:
        `(B, steps)` int64 in `[0, R)`; the first of equals.
    """
    if pairs.is_cuda:  # a launch for each step would take longer than all of its work
        try:
            from swiftprof.core.spread_kernel import farthest_points_kernel
        except ImportError:
            pass
        else:
            return farthest_points_kernel(pairs, near, steps)
    size = near.shape[1]
    start, flat = torch.arange(len(near), device=near.device) * size, pairs.view(-1, size)
    picks = []
    for _ in range(steps):
        picks.append(near.argmin(1))
        near = near.maximum(flat.index_select(0, picks[-1] + start))
    return torch.stack(picks, 1)
