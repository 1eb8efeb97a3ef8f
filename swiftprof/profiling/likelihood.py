"""``--score nll``: how likely the reference answer is, without decoding.

The answer is appended to the prompt and everything runs once: the vanilla run gives the hidden
states that enter layer 3, for the answer's tokens too, and each re-run is one pass of layers 3..L
over the text, the selection and the answer. The score is the geometric mean of the probabilities
of the answer's tokens, exp(-NLL / tokens), in (0, 1]: as with the other scores higher is better, so
curves and plans are made of it in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from swiftprof.profiling.record import Recording
from swiftprof.profiling.rerun import Rows, run_prompts


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
