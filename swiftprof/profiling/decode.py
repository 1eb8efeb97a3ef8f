"""Greedy answers of a group of re-runs: all rows at once, finished ones leave."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from swiftprof.core.stages import BASE_LAYER
from swiftprof.profiling.record import Recording
from swiftprof.profiling.row_cache import RowCache
from swiftprof.profiling.steps import Steps

RETIRE_BELOW = 0.5
"""Finished rows leave when fewer than this share of the rows is still being decoded."""


def decode(
    steps: Steps,
    recording: Recording,
    sample: Tensor,
    logits: Tensor,
    seen: Tensor,
    cache: RowCache,
    max_new_tokens: int,
    eos: Collection[int],
) -> list[list[int]]:
    """Answers of R rows without the end token.

    Args:
        sample: which sample each row belongs to, (R,).
        logits: behind the prompt, (R, V).
        seen: prompt columns in layers 3..L that hold a token, (R, n) bool.
        cache: of the prompt.
    """
    rows = torch.arange(len(sample), device=sample.device)
    full_seen, position = recording.valid[sample], recording.next_position[sample]
    ends = torch.tensor(sorted(eos), dtype=torch.long, device=sample.device)
    answers = torch.full((len(sample), max_new_tokens), -1, device=sample.device)
    for step in range(max_new_tokens):
        token = logits.argmax(-1)
        answers[rows, step] = token
        going = ~torch.isin(answers[rows], ends).any(1)
        if step + 1 == max_new_tokens or not bool(going.any()):
            break
        if float(going.float().mean()) < RETIRE_BELOW:
            stay = going.nonzero()[:, 0]
            rows, token, seen = rows[stay], token[stay], seen[stay]
            full_seen, position = full_seen[stay], position[stay]
            cache.keep(stay)
        one = seen.new_ones(len(rows), 1)
        seen, full_seen = torch.cat([seen, one], 1), torch.cat([full_seen, one], 1)
        hidden = steps.embed(token[:, None])
        rope = steps.rope(hidden, position[:, None] + step)
        masks = steps.mask(hidden, full_seen), steps.mask(hidden, seen)
        for i in range(len(steps.decoder.layers)):
            hidden = steps.run(i, hidden, rope, masks[i >= BASE_LAYER], cache)
        logits = steps.logits(hidden)[:, -1]
        cache.advance()
    return [_until_end(ids, eos) for ids in answers.tolist()]


def _until_end(ids: list[int], eos: Collection[int]) -> list[int]:
    stop = next((i for i, t in enumerate(ids) if t in eos or t < 0), len(ids))
    return ids[:stop]
