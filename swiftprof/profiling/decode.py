"""Greedy answers of rows behind their prompts: all rows at once, finished ones leave."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swiftprof.profiling.row_cache import RowCache
from swiftprof.profiling.steps import Steps

RETIRE_BELOW = 0.5
"""Finished rows leave when fewer than this share of the rows is still being decoded."""


@dataclass(frozen=True)
class Prompted:
    """Rows after their prompt.

    Attributes:
        hidden: what leaves layer L at the last tokens that were asked for, (R, last, d).
        seen: columns of the caches that hold a token, (R, n) bool, in the first BASE_LAYER layers
            and in the others.
        position: of the first new token, (R,).
        cache: keys and values so far.
    """

    hidden: Tensor
    seen: tuple[Tensor, Tensor]
    position: Tensor
    cache: RowCache


def decode(
    steps: Steps, prompted: Prompted, max_new_tokens: int, eos: Collection[int]
) -> list[list[int]]:
    """Answers of R rows without the end token."""
    cache, seen, position = prompted.cache, prompted.seen, prompted.position
    logits = steps.logits(prompted.hidden[:, -1:])[:, -1]
    rows = torch.arange(len(logits), device=logits.device)
    ends = torch.tensor(sorted(eos), dtype=torch.long, device=logits.device)
    answers = torch.full((len(rows), max_new_tokens), -1, device=logits.device)
    for step in range(max_new_tokens):
        token = logits.argmax(-1)
        answers[rows, step] = token
        going = ~torch.isin(answers[rows], ends).any(1)
        if step + 1 == max_new_tokens or not bool(going.any()):
            break
        if float(going.float().mean()) < RETIRE_BELOW:
            stay = going.nonzero()[:, 0]
            rows, token, position = rows[stay], token[stay], position[stay]
            seen = seen[0][stay], seen[1][stay]
            cache.keep(stay)
        one = seen[0].new_ones(len(rows), 1)
        seen = torch.cat([seen[0], one], 1), torch.cat([seen[1], one], 1)
        hidden = steps.embed(token[:, None])
        rope = per_row(steps.rope(hidden, position[:, None] + step), len(rows))
        logits = steps.logits(steps.through(hidden, rope, seen, cache))[:, -1]
    return [_until_end(ids, eos) for ids in answers.tolist()]


def per_row(rope: tuple[Tensor, Tensor], rows: int) -> tuple[Tensor, Tensor]:
    """Tables of one row or of every row, (…, 1 or R, n, d), for every row."""
    cos, sin = (t.expand(*t.shape[:-3], rows, -1, -1) for t in rope)
    return cos, sin


def end_tokens(model: nn.Module) -> Collection[int]:
    """Ids that end an answer, as ``generate`` uses them."""
    config = getattr(model, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    if ends is None:
        return ()
    return (ends,) if isinstance(ends, int) else tuple(ends)


def _until_end(ids: list[int], eos: Collection[int]) -> list[int]:
    stop = next((i for i, t in enumerate(ids) if t in eos or t < 0), len(ids))
    return ids[:stop]
