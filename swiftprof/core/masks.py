"""Attention masks for a pruned sequence, in the form each Hugging Face backend expects."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_kind(backend: str) -> str | None:
    """Which form of mask a backend takes: `sdpa`, `eager`, `flash`; None for an unknown one.

    Args:
        backend: a model's `config._attn_implementation`. FlashAttention has many names (versions,
            kernels from the hub); all contain "flash".
    """
    if backend in ("sdpa", "eager"):
        return backend
    return "flash" if "flash" in backend else None


def attention_mask(
    kind: str,
    valid: Tensor | None,
    *,
    batch: int,
    queries: int,
    keys: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor | None:
    """Causal mask for the last `queries` of `keys` columns, without the columns that are padding.

    Args:
        kind: `sdpa`, `eager` or `flash` (see `mask_kind`).
        valid: `(B, keys)` bool, or None when no row is padded.
        batch: rows B.
        queries: query tokens, the last columns.
        keys: key tokens, cached ones included.
        dtype: type of an additive mask.
        device: where the mask is needed.

    Returns:
        flash: `valid` itself (the kernels are causal, aligned to the lower right).
        sdpa: None where the kernel's own causal mask is right (no padding, and one query or a
        square map: it is aligned to the upper left), otherwise `(B, 1, queries, keys)` bool.
        eager: `(B, 1, queries, keys)` additive in `dtype`; None for one query without padding. None
        for more queries would mean no causality at all.

        A padding query sees itself, so that no row is empty: an empty row is NaN in half precision.
    """
    if kind == "flash":
        return valid
    if valid is None and (queries == 1 or (kind == "sdpa" and queries == keys)):
        return None
    key = torch.arange(keys, device=device)
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    mask = (key <= query)[None, None]
    if valid is not None:
        mask = (mask & valid[:, None, None]) | (key == query)
    if kind == "eager":
        allowed = torch.zeros((), dtype=dtype, device=device)
        mask = torch.where(mask, allowed, torch.finfo(dtype).min)
    return mask.expand(batch, -1, -1, -1)
