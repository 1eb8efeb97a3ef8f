"""The bypass: unselected tokens wait beside the layers and come back aligned (eq. 12 and 13)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swiftprof.core.layout import gather_tokens, put_tokens


@dataclass(frozen=True)
class Bypassed:
    """What waits in the side pathway between two stages.

    Attributes:
        slots: `(B, R)` int64, slots of the rest.
        valid: `(B, R)` bool.
        hidden: `(B, R, D)`, their hidden states when they left, `h_i^x`.
        group: `(B, R)` int64, the group of each; None when nothing was merged.
        seeds: `(B, Z)` int64, the slot in which each merged token went on; None when nothing was
            merged.
        merged: `(B, Z, D)`, the merged tokens as they entered the next layer; None when nothing was
            merged.
    """

    slots: Tensor
    valid: Tensor
    hidden: Tensor
    group: Tensor | None = None
    seeds: Tensor | None = None
    merged: Tensor | None = None


def restore(
    hidden: Tensor, slots: Tensor, valid: Tensor | None, waiting: Bypassed, length: int
) -> Tensor:
    """The whole prompt again, bypassed tokens moved along by their group's offset.

    `h_i + (merged_now - merged_then)` (eq. 12 and 13), in float32. A bypassed token that was not
    merged comes back as it left. Seeds are bypassed tokens too: their own state comes back, not the
    merged one.

    Args:
        hidden: `(B, m, D)` the tokens that went on.
        slots: `(B, m)` int64, their slots.
        valid: `(B, m)` bool, or None when no column is padding.
        waiting: the bypassed tokens.
        length: L, slots of the prompt.

    Returns:
        `(B, L, D)` in the type of `hidden`; zero at slots that hold no token (padding).
    """
    batch, _, size = hidden.shape
    buffer = hidden.new_zeros(batch * length + 1, size)
    full = buffer[:-1].view(batch, length, size)
    put_tokens(buffer, length, hidden, slots, valid)
    tokens = waiting.hidden
    if waiting.group is not None and waiting.seeds is not None and waiting.merged is not None:
        offset = gather_tokens(full, waiting.seeds).float() - waiting.merged.float()
        tokens = (tokens.float() + gather_tokens(offset, waiting.group)).to(hidden.dtype)
    put_tokens(buffer, length, tokens, waiting.slots, waiting.valid)
    return full
