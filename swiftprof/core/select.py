"""Ranking and picking tokens: top-k with a defined tie order, and score-free rankings."""

from __future__ import annotations

import torch
from torch import Tensor


def rank(scores: Tensor, candidates: Tensor) -> Tensor:
    """Columns from best to worst: candidates first, by falling score, ties to the lower column.

    A stable sort, not `topk`, whose tie order is undefined and differs between devices.

    Args:
        scores: `(B, n)` float, higher is better; may hold -inf.
        candidates: `(B, n)` bool, the columns that may be selected.

    Returns:
        `(B, n)` int64, a permutation of the columns of each row.
    """
    floor = torch.finfo(scores.dtype).min  # a candidate at -inf still beats a column that is none
    keyed = torch.where(candidates, scores.clamp_min(floor), float("-inf"))
    return keyed.argsort(dim=1, descending=True, stable=True)


def rank_by_picture(scores: Tensor, candidates: Tensor, picture: Tensor, size: Tensor) -> Tensor:
    """As `rank`, but pictures take turns, each as often as its share of the visual tokens says.

    The r-th best of a picture with m tokens (r from 0) stands at (r + ½) / m: the first k columns
    then are Webster's apportionment of k seats, which never takes back a seat when k grows. Ties go
    to the lower column.

    Args:
        scores: `(B, n)` float.
        candidates: `(B, n)` bool.
        picture: `(B, n)` int64, the picture of each candidate.
        size: `(B, n)` int64, how many visual tokens that picture has in the prompt.

    Returns:
        `(B, n)` int64, a permutation of the columns of each row.
    """
    order = rank(scores, candidates)
    nowhere = scores.shape[1]
    own = torch.where(candidates, picture, nowhere).gather(1, order)
    grouped = own.argsort(dim=1, stable=True)  # picture by picture, each from best to worst
    own = own.gather(1, grouped)
    place = torch.arange(nowhere, device=scores.device).expand_as(order)
    starts = torch.cat([torch.ones_like(own[:, :1]), (own[:, 1:] != own[:, :-1]).long()], dim=1)
    within = place - (place * starts).cummax(1).values
    columns = order.gather(1, grouped)
    turn = torch.zeros_like(order).scatter(1, columns, within)
    when = torch.where(candidates, (turn + 0.5) / size.clamp_min(1), float("inf"))
    return when.argsort(dim=1, stable=True)


def top(order: Tensor, count: Tensor, width: int | None = None) -> Tensor:
    """The first `count` columns of a ranking, as a mask.

    Args:
        order: `(B, n)` int64, columns from best to worst (see `rank`).
        count: `(B, 1)` int64, how many to take in each row.
        width: columns of the mask, where the ranking holds the best ones only.

    Returns:
        `(B, n)` bool with exactly `count` true values per row (all of them when `count >= n`).
    """
    taken = torch.arange(order.shape[1], device=order.device) < count
    mask = torch.zeros(len(order), width or order.shape[1], dtype=torch.bool, device=order.device)
    return mask.scatter(1, order, taken)


def hashed_scores(index: Tensor, seed: int) -> Tensor:
    """A uniform pseudo-random score in [0, 1) for each index, a function of `(index, seed)` alone.

    A hash instead of a generator: the value does not depend on the batch, on padding, on the device
    or on how many numbers were drawn before, so a batched run selects what a single run selects.

    Args:
        index: integer tensor of any shape.
        seed: any integer.

    Returns:
        float32 tensor of the same shape, multiples of 2**-24.
    """
    mask = 0xFFFFFFFF
    state = (index.to(torch.int64) + (seed % (1 << 31)) * 0x9E3779B1) & mask
    for multiplier in (
        0x7FEB352D,
        0x46A3CA6B,
    ):  # xor-shift-multiply rounds over 32 bits, products below 2**63
        state = state ^ (state >> 16)
        state = (state * multiplier) & mask
    state = state ^ (state >> 15)
    return (state >> 8).to(torch.float32) / (1 << 24)


def evenly_spaced(candidates: Tensor, count: Tensor) -> Tensor:
    """Pick `count` of each row's candidates at equal distances in their order, centred.

    Candidate `c` of `m` is picked where `round(c * count / m)` steps up, which happens `count`
    times.

    Args:
        candidates: `(B, n)` bool.
        count: `(B, 1)` int64, at most the number of candidates of the row.

    Returns:
        `(B, n)` bool, a subset of `candidates`.
    """
    number = candidates.long().cumsum(1)  # 1-based place among the candidates
    total = candidates.sum(1, keepdim=True).clamp_min(1)
    after = (2 * number * count + total) // (2 * total)
    before = (2 * (number - 1) * count + total) // (2 * total)
    return candidates & (after > before)
