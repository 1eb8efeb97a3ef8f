"""Re-runs: layers 1 and 2 as in the vanilla run, layers 3..L on the text and one selection alone.

All re-runs of several samples go as rows of one batch. The vision tower, layers 1 and 2 and the
text before the image come from the vanilla run; equal selections run once; answers are decoded
greedily for all rows at once, and finished rows leave the batch.

``--score nll`` needs no decoding: the reference answer stands behind the prompt and everything runs
once. The score is the geometric mean of the probabilities of the answer's tokens,
exp(-NLL / tokens), in (0, 1]: as with the other scores higher is better, so curves and plans are
made of it in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from swiftprof.core.layout import compact
from swiftprof.core.stages import BASE_LAYER
from swiftprof.models.memory import RERUN_CACHE
from swiftprof.profiling.decode import Prompted, decode
from swiftprof.profiling.record import Recording
from swiftprof.profiling.row_cache import RowCache

T = TypeVar("T")


@torch.inference_mode()
def rerun(
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
    rows = Rows.of(recording, selections)
    answers: list[list[int]] = []
    for _, prompted in run_prompts(recording, rows, max_rows, new=max_new_tokens):
        answers += decode(recording.steps, prompted, max_new_tokens, eos)
    return rows.spread(answers)


@dataclass(frozen=True)
class Rows:
    """Re-runs of several samples as rows of one batch; equal selections of a sample share a row.

    Attributes:
        sample: which sample each row belongs to, (R,).
        kept: slots behind the text before the image that the row keeps, (R, P) bool.
        places: per sample, the row of each candidate.
    """

    sample: Tensor
    kept: Tensor
    places: list[list[int]]

    @classmethod
    def of(cls, recording: Recording, selections: Sequence[Tensor]) -> Rows:
        visual = recording.visual
        unique = [torch.unique(s, dim=0, return_inverse=True) for s in selections]
        counts = torch.tensor([len(u) for u, _ in unique], device=visual.device)
        sample = torch.arange(len(unique), device=visual.device).repeat_interleave(counts)
        kept = (recording.valid & ~visual & (visual.cumsum(1) > 0))[sample]
        first, places = 0, []
        for slots, inverse in unique:
            kept[first : first + len(slots)].scatter_(1, slots, True)
            places.append([first + i for i in inverse.tolist()])
            first += len(slots)
        return cls(sample, kept, places)

    def spread(self, results: Sequence[T]) -> list[list[T]]:
        """Results of the rows, by sample and candidate."""
        return [[results[i] for i in rows] for rows in self.places]


def run_prompts(
    recording: Recording,
    rows: Rows,
    max_rows: int,
    *,
    new: int = 0,
    last: int = 1,
) -> Iterator[tuple[Tensor, Prompted]]:
    """Layers 3..L on each row's text behind the image and its selection.

    Args:
        max_rows: rows at once; their caches' memory is that of the ones before.
        new: tokens that will be decoded. Without any, nothing runs through the first layers again,
            and they get no cache.
        last: tokens at the end of the prompt whose hidden states are wanted.

    Yields:
        Which sample each of some rows belongs to, and the rows behind their prompt.
    """
    longest = int(rows.kept.sum(1).max())
    before = recording.prefix[1].shape[1] + longest + new
    first = recording.valid.shape[1] + new if new else 0
    rooms = [first if i < BASE_LAYER else before for i in range(len(recording.cached))]
    size = min(max_rows, len(rows.sample), _rows_that_fit(recording, rooms, new))
    cache = RowCache(size, rooms)
    for sample, kept in zip(rows.sample.split(size), rows.kept.split(size), strict=True):
        slots, own = compact(kept, int(kept.sum(1).max()))
        at = sample[:, None], slots
        valid = recording.valid[sample]
        seen = valid, torch.cat([recording.prefix[1][sample], own], 1)
        filled = cache.restart(recording.cached, sample)
        cos, sin = (t[..., at[0], at[1], :] for t in recording.rope)
        hidden = recording.steps.through(
            recording.hidden[at],
            (cos, sin),
            seen,
            filled,
            last=last,
            start=BASE_LAYER,
            added={i: each[at] for i, each in recording.added.items()},
        )
        yield sample, Prompted(hidden, seen, recording.position[sample], filled)


def _rows_that_fit(recording: Recording, rooms: Sequence[int], new: int) -> int:
    """So many that caches hold little more than the vanilla run's did, see `RERUN_CACHE`."""
    widths = [k[0, :, 0].numel() + v[0, :, 0].numel() for k, v in recording.cached]
    batch, prompt = recording.valid.shape
    vanilla = batch * (prompt + new) * sum(widths)
    held = sum(k.numel() + v.numel() for k, v in recording.cached)
    row = sum(room * width for room, width in zip(rooms, widths, strict=True))
    return max(1, int(RERUN_CACHE * vanilla - held) // row)


def answer_tokens(texts: Sequence[str], tokenizer: Any, device: torch.device) -> Tensor:
    """Ids of answers, (B, T), -1 behind the end of a shorter one. An answer has at least one."""
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    width = max(1, *map(len, rows))
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    return torch.tensor(padded, device=device)


@torch.inference_mode()
def answer_scores(recording: Recording, answers: Tensor) -> list[float]:
    """Score of each sample's answer in the vanilla run, (B,)."""
    final = recording.final
    assert final is not None
    head = recording.steps.model.get_output_embeddings()
    return _scores(lambda t: head(final[:, t]), answers)


@torch.inference_mode()
def rerun_scores(
    recording: Recording,
    selections: Sequence[Tensor],
    answers: Tensor,
    max_rows: int = 256,
) -> list[list[float]]:
    """Scores with each candidate's selection, per sample (see `rerun` for the arguments)."""
    rows, last = Rows.of(recording, selections), answers.shape[1] + 1
    scores: list[float] = []
    for sample, prompted in run_prompts(recording, rows, max_rows, last=last):

        def logits(t: int, hidden: Tensor = prompted.hidden) -> Tensor:
            return recording.steps.logits(hidden[:, t : t + 1])[:, 0]

        scores += _scores(logits, answers[sample])
    return rows.spread(scores)


def _scores(logits: Callable[[int], Tensor], answers: Tensor) -> list[float]:
    """Geometric mean probability of each row's answer; logits of one position at a time."""
    total = torch.zeros(len(answers), device=answers.device)
    for t in range(answers.shape[1]):
        wanted = answers[:, t]
        log = torch.log_softmax(logits(t).float(), -1)
        one = log.gather(1, wanted.clamp_min(0)[:, None])[:, 0]
        total += torch.where(wanted >= 0, one, 0.0)
    return (total / (answers >= 0).sum(1).clamp_min(1)).exp().tolist()
