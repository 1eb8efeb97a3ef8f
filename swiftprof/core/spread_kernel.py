"""The loop of `swiftprof.core.spread.farthest_points` as one launch on a GPU."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _farthest(
    pairs: Any, near: Any, picks: Any, size: Any, steps: Any, BLOCK: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < size
    so_far = tl.load(near + row * size + column, mask=inside, other=float("inf"))
    for step in range(steps):
        pick = tl.argmin(so_far, axis=0)  # the first of equals
        tl.store(picks + row * steps + step, pick.to(tl.int64))
        similar = tl.load(
            pairs + (row * size + pick) * size + column, mask=inside, other=float("inf")
        )
        so_far = tl.maximum(so_far, similar)


def farthest_points_kernel(pairs: Tensor, near: Tensor, steps: int) -> Tensor:
    """See `swiftprof.core.spread.farthest_points`; a row is one program."""
    batch, size = near.shape
    picks = torch.empty(batch, steps, dtype=torch.int64, device=near.device)
    block = triton.next_power_of_2(size)
    with torch.cuda.device(near.device):
        _farthest[(batch,)](
            pairs.contiguous(), near.contiguous(), picks, size, steps, BLOCK=block, num_warps=8
        )
    return picks
