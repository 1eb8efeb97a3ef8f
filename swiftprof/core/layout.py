"""Slots: where the surviving tokens stand.

Every token keeps its slot, its index in the original prompt, for ever. A pruned sequence is a
matrix of columns sorted by slot and right-aligned, padded on the left where the rows of a batch
differ in length. Because slots ascend, "earlier column" and "earlier position" mean the same, so a
plain causal mask on the columns is the causal mask on the original positions, and attention
kernels' causal fast paths stay right.
"""

from __future__ import annotations

import torch
from torch import Tensor


def compact(keep: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The kept columns of each row, in order, moved to the right end of a shorter row.

    Args:
        keep: `(B, n)` bool.
        length: columns of the result, at least the largest number of kept columns of a row (a host
            integer, so that no device result has to be read).

    Returns:
        columns: `(B, length)` int64, ascending; padding columns point at column 0.
        valid: `(B, length)` bool, false at padding columns, which stand on the left.
    """
    numbered = torch.where(keep, torch.arange(keep.shape[1], device=keep.device), -1)
    columns = numbered.sort(dim=1).values[:, keep.shape[1] - length :]
    return columns.clamp_min(0), columns >= 0


def gather_tokens(tokens: Tensor, columns: Tensor) -> Tensor:
    """Pick columns of each row: `(B, n, D)` by `(B, m)` gives `(B, m, D)`."""
    batch, width, size = tokens.shape
    # Whole tokens are copied; `gather` would look up an index for each of the B * m * D numbers.
    picked = tokens.reshape(-1, size).index_select(0, _flat(columns, width))
    return picked.view(batch, -1, size)


def scatter_tokens(into: Tensor, tokens: Tensor, slots: Tensor, valid: Tensor | None) -> Tensor:
    """A copy of `into` with tokens put at their slots.

    Args:
        into: `(B, L, D)`.
        tokens: `(B, m, D)`.
        slots: `(B, m)` int64 in `[0, L)`, distinct within a row where valid.
        valid: `(B, m)` bool, the tokens to place; None places all.

    Returns:
        `(B, L, D)`.
    """
    batch, length, size = into.shape
    buffer = into.new_empty(batch * length + 1, size)
    full = buffer[:-1].view(batch, length, size)
    full.copy_(into)
    put_tokens(buffer, length, tokens, slots, valid)
    return full


def put_tokens(
    buffer: Tensor, length: int, tokens: Tensor, slots: Tensor, valid: Tensor | None
) -> None:
    """Put tokens at their slots, in place.

    Args:
        buffer: `(B * L + 1, D)`, the rows one after the other; the last entry takes the padding, so
            that no row has a column too many and `buffer[:-1]` is `(B, L, D)` without a copy.
        length: L.
        tokens, slots, valid: see `scatter_tokens`.
    """
    at = _flat(slots, length)
    if valid is not None:
        at = at.masked_fill(~valid.flatten(), len(buffer) - 1)
    buffer.index_copy_(0, at, tokens.reshape(-1, tokens.shape[-1]))


def _flat(columns: Tensor, width: int) -> Tensor:
    """Columns of B rows as places in the rows one after the other: `(B, m)` to `(B * m,)`."""
    start = torch.arange(len(columns), device=columns.device)[:, None] * width
    return (columns + start).flatten()


def mark(columns: Tensor, count: Tensor, among: Tensor) -> Tensor:
    """1 at the first `count` of each row's columns, 0 elsewhere.

    Args:
        columns: `(B, m)` int64, in the order in which they were chosen.
        count: `(B, 1)` int64.
        among: `(B, n)` bool, where a mark may stand.

    Returns:
        `(B, n)` float32.
    """
    wanted = torch.arange(columns.shape[1], device=columns.device) < count
    marks = torch.zeros(among.shape, device=columns.device)
    return marks.scatter_reduce(1, columns, wanted.float(), "amax") * among


def gather_rope(table: Tensor, columns: Tensor) -> Tensor:
    """Rows of a cos or sin table for the given columns: tokens keep their original positions.

    Args:
        table: `(..., 1 or B, n, d)`; leading dimensions as in M-RoPE's `(3, B, n, d)` are kept.
        columns: `(B, m)` int64.

    Returns:
        `(..., B, m, d)`.
    """
    batch, lead, dim = columns.shape[0], table.shape[:-3], table.shape[-1]
    table = table.expand(*lead, batch, *table.shape[-2:])
    return table.gather(-2, columns[..., None].expand(*lead, *columns.shape, dim))
