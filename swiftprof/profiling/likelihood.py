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
from torch import Tensor, nn

from swiftprof.core.stages import BASE_LAYER
from swiftprof.profiling.record import Recording
from swiftprof.profiling.rerun import Rows, run_prompt
from swiftprof.profiling.row_cache import RowMemory
from swiftprof.profiling.steps import Steps


def answer_tokens(texts: Sequence[str], tokenizer: Any, device: torch.device) -> Tensor:
    """Ids of answers, (B, T), -1 behind the end of a shorter one. An answer has at least one."""
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    width = max(1, *map(len, rows))
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    return torch.tensor(padded, device=device)


@torch.inference_mode()
def answer_scores(model: nn.Module, recording: Recording, answers: Tensor) -> list[float]:
    """Score of each sample's answer in the vanilla run, (B,)."""
    final = recording.final
    assert final is not None
    head = Steps(model).model.get_output_embeddings()
    return _scores(lambda t: head(final[:, t]), answers)


@torch.inference_mode()
def rerun_scores(
    model: nn.Module,
    recording: Recording,
    selections: Sequence[Tensor],
    answers: Tensor,
    max_rows: int = 256,
    start: int = BASE_LAYER,
) -> list[list[float]]:
    """Scores with each candidate's selection, per sample (see `rerun` for the arguments).

    Args:
        start: layers that ran as in the vanilla run; the recording's `hidden` enters the next.
    """
    steps = Steps(model)
    rows = Rows.of(recording, selections)
    length = answers.shape[1]
    scores: list[float] = []
    memory = RowMemory(recording, rows.longest(recording), new=0, most=max_rows)
    for part in rows.chunks(memory.rows):
        hidden = run_prompt(steps, recording, part, memory, last=length + 1, start=start).hidden[
            :, :-1
        ]

        def logits(t: int, hidden: Tensor = hidden) -> Tensor:
            return steps.logits(hidden[:, t : t + 1])[:, 0]

        scores += _scores(logits, answers[part.sample])
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
