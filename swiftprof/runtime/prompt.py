"""Which tokens of a call are visual, and where its prompt ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.decoder import Decoder

IGNORED = -100
"""The label of tokens that are not predicted, in all of transformers."""


def visual_tokens(decoder: Decoder, ids: Tensor | None, embeds: Tensor | None) -> Tensor:
    """Where image and video features go: `(B, L)` bool.

    Without ids, placeholders are found by their embedding, as the models themselves do.
    """
    if ids is not None:
        wanted = torch.tensor(decoder.visual_ids, device=ids.device)
        return torch.isin(ids, wanted)
    assert embeds is not None
    table = cast(Any, decoder.model).get_input_embeddings()
    found = torch.zeros(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    for token in decoder.visual_ids:
        placeholder = table(torch.tensor(token, device=table.weight.device)).to(embeds.device)
        found |= (embeds == placeholder).all(-1)
    return found


def prompt_ends(
    valid: Tensor,
    lengths: int | Sequence[int] | Tensor | None,
    labels: Tensor | None,
    logits_to_keep: int,
) -> Tensor:
    """The last token of each row's prompt, whose attention judges: `(B,)` int64.

    What stands behind it is the answer. In this order: as many tokens as `lengths` says; up to the
    first label; up to the first token whose logits are wanted, where that are several; all.

    Args:
        valid: `(B, L)` bool, false at padding.
        lengths: tokens of each row's prompt, padding excluded; one number for all rows.
        labels: `(B, L)`, `IGNORED` where nothing is predicted.
        logits_to_keep: for how many of the last tokens logits are wanted; 0 for all.

    Raises:
        SwiftprofError: not as many lengths as rows.
    """
    batch, length = valid.shape
    slots = torch.arange(length, device=valid.device).expand_as(valid)
    inside = valid
    if lengths is not None:
        wanted = torch.as_tensor(lengths, device=valid.device).reshape(-1)
        if len(wanted) not in (1, batch):
            raise SwiftprofError(
                f"prompt_lengths has {len(wanted)} numbers and the call {batch} rows: give one "
                "number for each row, or one for all"
            )
        inside = valid & (valid.cumsum(1) <= wanted[:, None])
    elif labels is not None:
        # A label is predicted one token before it, so the first token's own counts for nothing.
        labelled = (labels.to(valid.device) != IGNORED) & (slots > 0)
        inside = valid & (slots < torch.where(labelled, slots, length).amin(1, keepdim=True))
    elif logits_to_keep > 1:
        inside = valid & (slots <= length - logits_to_keep)
    return torch.where(inside, slots, 0).amax(1)
