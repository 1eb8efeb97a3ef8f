"""Re-runs: layers 1 and 2 as in the vanilla run, layers 3..L on the text and one selection alone.

All re-runs of several samples go as rows of one batch. The vision tower, layers 1 and 2 and the
text before the image come from the vanilla run; equal selections run once; answers are decoded
greedily for all rows at once, and finished rows leave the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from swiftprof.profiling.record import FULL_LAYERS, Recording
from swiftprof.profiling.row_cache import RowCache
from swiftprof.profiling.steps import Steps, gather_rows, right_aligned

RETIRE_BELOW = 0.5
"""Finished rows leave when fewer than this share of the batch is still being decoded."""


@torch.inference_mode()
def rerun(
    model: nn.Module,
    recording: Recording,
    selections: Sequence[Tensor],
    max_new_tokens: int,
    eos: Collection[int],
    max_rows: int = 256,
) -> list[list[list[int]]]:
    """Greedy answers of the model on each selection.

    Args:
        selections: per sample the kept visual slots of its candidates, (C, n) ascending.
        eos: ids that end an answer.
        max_rows: rows that run at once.

    Returns:
        answers[sample][candidate]: token ids without the end token.
    """
    unique = [torch.unique(s, dim=0, return_inverse=True) for s in selections]
    sample = torch.cat(
        [torch.full((len(u),), b, dtype=torch.long) for b, (u, _) in enumerate(unique)]
    ).to(recording.hidden.device)
    kept = torch.zeros(
        len(sample), recording.valid.shape[1], dtype=torch.bool, device=sample.device
    )
    first = 0
    for slots, _ in unique:
        kept[first : first + len(slots)].scatter_(1, slots, True)
        first += len(slots)
    answers: list[list[int]] = []
    for start in range(0, len(sample), max_rows):
        part = slice(start, start + max_rows)
        answers += _run(model, recording, sample[part], kept[part], max_new_tokens, eos)
    out, first = [], 0
    for slots, inverse in unique:
        out.append([answers[first + i] for i in inverse.tolist()])
        first += len(slots)
    return out


def _run(
    model: nn.Module,
    recording: Recording,
    sample: Tensor,
    kept: Tensor,
    max_new_tokens: int,
    eos: Collection[int],
) -> list[list[int]]:
    steps = Steps.of(model)
    layers = steps.decoder.layers
    valid, visual = recording.valid, recording.visual
    before_image = visual.cumsum(1) == 0
    own = (valid & ~visual & ~before_image)[sample] | kept
    slots, own_valid = right_aligned(own)
    prefix, prefix_valid = right_aligned(valid & before_image)
    cache = RowCache.allocate(recording, sample, prefix, slots.shape[1], max_new_tokens)
    rows = torch.arange(len(sample), device=sample.device)

    hidden = recording.hidden[sample[:, None], slots]
    rope = gather_rows(recording.rope, sample, slots, len(valid))
    seen = torch.cat([prefix_valid[sample], own_valid], 1)
    mask = steps.mask(hidden, seen)
    for i, layer in enumerate(layers[FULL_LAYERS:], FULL_LAYERS):
        hidden = steps.run(layer, hidden, rope, mask, cache)
        if i in recording.added:
            hidden = hidden + recording.added[i][sample[:, None], slots].to(hidden)
    logits = steps.logits(hidden[:, -1:])
    cache.advance()

    full_seen, position = valid[sample], recording.next_position[sample]
    ends = torch.tensor(sorted(eos), dtype=torch.long, device=sample.device)
    answers = torch.full((len(sample), max_new_tokens), -1, device=sample.device)
    for step in range(max_new_tokens):
        token = logits[:, -1].argmax(-1)
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
        for i, layer in enumerate(layers):
            hidden = steps.run(layer, hidden, rope, masks[i >= FULL_LAYERS], cache)
        logits = steps.logits(hidden)
        cache.advance()
    return [_until_end(ids, eos) for ids in answers.tolist()]


def _until_end(ids: list[int], eos: Collection[int]) -> list[int]:
    stop = next((i for i, t in enumerate(ids) if t in eos or t < 0), len(ids))
    return ids[:stop]
