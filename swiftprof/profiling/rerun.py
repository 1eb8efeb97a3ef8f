"""Re-runs: layers 1 and 2 as in the vanilla run, layers 3..L on the text and one selection alone.

All re-runs of several samples go as rows of one batch. The vision tower, layers 1 and 2 and the
text before the image come from the vanilla run; equal selections run once; answers are decoded
greedily for all rows at once, and finished rows leave the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from swiftprof.core.stages import BASE_LAYER
from swiftprof.profiling.decode import decode
from swiftprof.profiling.record import Recording
from swiftprof.profiling.row_cache import RowCache, RowMemory
from swiftprof.profiling.steps import Steps, gather_rows, right_aligned

T = TypeVar("T")

CPU_TOKENS_WIDTH = 2**18
"""Tokens times MLP width that go through a layer together on a CPU: more leaves its cache."""


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
        max_rows: rows that run at once; fewer where their caches would take more memory than that
            of the vanilla run.

    Returns:
        answers[sample][candidate]: token ids without the end token.
    """
    steps, rows = Steps(model), Rows.of(recording, selections)
    memory = RowMemory(recording, rows.longest(recording), max_new_tokens, max_rows)
    answers: list[list[int]] = []
    for part in rows.chunks(memory.rows):
        prompted = run_prompt(steps, recording, part, memory, last=1)
        logits = steps.logits(prompted.hidden)[:, -1]
        answers += decode(
            steps,
            recording,
            part.sample,
            logits,
            prompted.seen,
            prompted.cache,
            max_new_tokens,
            eos,
        )
    return rows.spread(answers)


@dataclass(frozen=True)
class Rows:
    """Re-runs of several samples as rows of one batch; equal selections of a sample share a row.

    Attributes:
        sample: which sample each row belongs to, (R,).
        kept: visual slots that the row keeps, (R, P) bool.
        places: per sample, the row of each candidate.
    """

    sample: Tensor
    kept: Tensor
    places: list[list[int]]

    @classmethod
    def of(cls, recording: Recording, selections: Sequence[Tensor]) -> Rows:
        device = recording.hidden.device
        unique = [torch.unique(s, dim=0, return_inverse=True) for s in selections]
        sample = torch.cat([torch.full((len(u),), b) for b, (u, _) in enumerate(unique)])
        kept = torch.zeros(len(sample), recording.valid.shape[1], dtype=torch.bool, device=device)
        first, places = 0, []
        for slots, inverse in unique:
            kept[first : first + len(slots)].scatter_(1, slots, True)
            places.append([first + i for i in inverse.tolist()])
            first += len(slots)
        return cls(sample.to(device), kept, places)

    def chunks(self, size: int) -> Iterator[Rows]:
        """At most `size` rows at a time."""
        for start in range(0, len(self.sample), size):
            part = slice(start, start + size)
            yield Rows(self.sample[part], self.kept[part], [])

    def own(self, recording: Recording) -> Tensor:
        """Slots of each row behind the text before the image, (R, P) bool."""
        text = recording.valid & ~recording.visual & (recording.visual.cumsum(1) > 0)
        return text[self.sample] | self.kept

    def longest(self, recording: Recording) -> int:
        """Most such slots of a row."""
        return int(self.own(recording).sum(1).max())

    def spread(self, results: Sequence[T]) -> list[list[T]]:
        """Results of the rows, by sample and candidate."""
        return [[results[i] for i in rows] for rows in self.places]


@dataclass(frozen=True)
class Prompted:
    """Rows after their prompt.

    Attributes:
        hidden: what leaves layer L at the last tokens that were asked for, (R, last, d).
        seen: columns of the caches of layers 3..L that hold a token, (R, prefix + n) bool.
        cache: keys and values so far.
    """

    hidden: Tensor
    seen: Tensor
    cache: RowCache


def run_prompt(
    steps: Steps,
    recording: Recording,
    rows: Rows,
    memory: RowMemory,
    last: int,
    start: int = BASE_LAYER,
) -> Prompted:
    """Layers 3..L on each row's text behind the image and its selection.

    Args:
        memory: for the rows' caches.
        last: tokens at the end of the prompt whose hidden states are wanted.
        start: layers that ran as in the vanilla run; the recording's `hidden` enters the next.
    """
    sample = rows.sample
    slots, own_valid = right_aligned(rows.own(recording))
    cache = memory.cache(sample, slots.shape[1])
    seen = torch.cat([recording.prefix[1][sample], own_valid], 1)
    size = _rows_at_work(steps, slots)
    hidden = [
        _through_layers(
            steps, recording, sample[part], slots[part], seen[part], cache[part], last, start
        )
        for part in (slice(start, start + size) for start in range(0, len(sample), size))
    ]
    cache.advance()
    return Prompted(torch.cat(hidden), seen, cache)


def _through_layers(
    steps: Steps,
    recording: Recording,
    sample: Tensor,
    slots: Tensor,
    seen: Tensor,
    cache: RowCache,
    last: int,
    start: int,
) -> Tensor:
    """Hidden states of the last tokens of some rows behind layer L, (R, last, d)."""
    hidden = recording.hidden[sample[:, None], slots]
    rope = gather_rows(recording.rope, sample, slots, len(recording.valid))
    mask = steps.mask(hidden, seen)
    final = len(steps.decoder.layers) - 1
    for i in range(start, final + 1):
        hidden = steps.run(i, hidden, rope, mask, cache, last if i == final else None)
        if i in recording.added:
            here = slots[:, -hidden.shape[1] :]
            hidden = hidden + recording.added[i][sample[:, None], here].to(hidden)
    return hidden


def _rows_at_work(steps: Steps, slots: Tensor) -> int:
    """Rows that go through the layers together: all on a GPU, few enough for a CPU's cache."""
    rows, tokens = slots.shape
    if slots.device.type != "cpu":
        return rows
    return max(1, CPU_TOKENS_WIDTH // (tokens * int(steps.decoder.config.intermediate_size)))
