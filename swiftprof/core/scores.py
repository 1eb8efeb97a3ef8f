"""The T-V score: what the last prompt token attends to, as one row instead of an attention map."""

from __future__ import annotations

import torch
from torch import Tensor

from swiftprof.core.layout import compact


def attention_row(query: Tensor, keys: Tensor, visible: Tensor, scaling: float) -> Tensor:
    """Attention of one query token per row over its visible tokens, averaged over the heads.

    ``mean_h softmax(q_h k_h^T * scaling)``: the map from which paper §3.3 takes the T-V scores, at
    the row of the last text token. The softmax runs over all visible tokens, text included: the
    heads' denominators differ, so averaging logits, or normalising over the visual tokens alone,
    would rank differently.

    Args:
        query: `(B, H, d)` queries after RoPE; `H` is a multiple of the number of key heads `G`.
        keys: `(B, G, n, d)` keys after RoPE. Query head `h` uses key head `h // (H / G)`; keys are
            not repeated.
        visible: `(B, n)` bool, the tokens that the query may attend to; at least one per row.
        scaling: factor on the logits, usually `d ** -0.5`.

    Returns:
        `(B, n)` float32; each row sums to 1, exactly 0 where not visible. Largest intermediate:
        `(B, H, n)`.
    """
    batch, heads, dim = query.shape
    groups = keys.shape[1]
    grouped = query.reshape(batch, groups, heads // groups, dim).float()
    logits = grouped @ keys.float().transpose(-1, -2) * scaling  # (B, G, H/G, n)
    logits = logits.masked_fill(~visible[:, None, None], float("-inf"))
    return torch.softmax(logits, dim=-1).mean(dim=(1, 2))


def mean_attention(
    query: Tensor, keys: Tensor, visible: Tensor, scaling: float, weight: Tensor
) -> Tensor:
    """Attention of several query tokens per row, averaged over the heads and summed over queries.

    Args:
        query: `(B, H, Q, d)` queries after RoPE.
        keys: `(B, G, n, d)` keys after RoPE, grouped as in `attention_row`.
        visible: `(B, Q, n)` bool, the tokens that each query may attend to; at least one.
        scaling: factor on the logits.
        weight: `(B, Q)` float32, weight of each query in the sum.

    Returns:
        `(B, n)` float32. Largest intermediate: `(B, H, Q, n)`; give the queries in portions.
    """
    batch, heads, count, dim = query.shape
    groups = keys.shape[1]
    grouped = query.reshape(batch, groups, heads // groups, count, dim).float()
    logits = grouped @ keys[:, :, None].float().transpose(-1, -2) * scaling  # (B, G, H/G, Q, n)
    logits = logits.masked_fill(~visible[:, None, None], float("-inf"))
    rows = torch.softmax(logits, dim=-1).mean(dim=(1, 2))
    return torch.einsum("bqn,bq->bn", rows, weight)


def rows_asking(asking: Tensor, last: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Which columns ask, and what each counts in their mean.

    Args:
        asking: `(B, n)` bool, the tokens that ask.
        last: `(B,)` int64, the column that asks in rows where no token does.
        most: at least the largest number of asking tokens of a row, a host integer.

    Returns:
        columns: `(B, Q)` int64, with padding on the left.
        weight: `(B, Q)` float32; each row sums to 1, padding weighs 0.
    """
    only_last = torch.zeros_like(asking).scatter(1, last[:, None], True)
    asking = torch.where(asking.any(1, keepdim=True), asking, only_last)
    columns, real = compact(asking, min(max(most, 1), asking.shape[1]))
    return columns, real.float() / real.sum(1, keepdim=True)
