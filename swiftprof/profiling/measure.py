"""One batch of samples: the vanilla run, the selections, the re-runs, the scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from swiftprof.data.base import Dataset, Sample
from swiftprof.models.batch_size import most_rows
from swiftprof.models.loading import VLM
from swiftprof.profiling.decode import end_tokens
from swiftprof.profiling.likelihood import answer_scores, answer_tokens, rerun_scores
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import rerun
from swiftprof.profiling.rows import Row
from swiftprof.profiling.settings import Settings
from swiftprof.profiling.steps import Steps


def measure_batch(
    vlm: VLM,
    steps: Steps,
    dataset: Dataset,
    samples: list[Sample],
    settings: Settings,
    max_rows: int | None = None,
) -> list[Row]:
    """Everything that a profile says of these samples.

    With `nll` for a score it is the likelihood of the reference answers; predictions stay empty.

    Args:
        steps: of the model.
        max_rows: re-runs that run at once, where memory allows; None for what suits the device.
    """
    max_rows = max_rows or most_rows(str(vlm.model.device))
    inputs = vlm.inputs([s.images for s in samples], [s.question for s in samples])
    prompt = inputs["attention_mask"].sum(1).tolist()
    if settings.score == "nll":
        tokenizer = getattr(vlm.processor, "tokenizer", vlm.processor)
        references = [dataset.reference(s) for s in samples]
        answers = answer_tokens(references, tokenizer, vlm.model.device)
        recording = record(steps, inputs, vlm.image_token_id, 1, answers)
        selections = recording.select(settings.keep)
        scores = answer_scores(recording, answers)
        again = rerun_scores(recording, candidates(selections, settings), answers, max_rows)
        said = [""] * len(samples)
        said_again = [[""] * len(each) for each in again]
    else:
        new = dataset.max_new_tokens
        recording = record(steps, inputs, vlm.image_token_id, new)
        selections = recording.select(settings.keep)
        chosen = candidates(selections, settings)
        found = rerun(recording, chosen, new, end_tokens(vlm.model), max_rows)
        said = vlm.decode(recording.generated)
        said_again = [vlm.decode(each) for each in found]
        scores = [dataset.score(a, s) for a, s in zip(said, samples, strict=True)]
        again = [
            [dataset.score(a, s) for a in each] for each, s in zip(said_again, samples, strict=True)
        ]
    n_visual = recording.visual.sum(1).tolist()
    number = recording.visual.cumsum(1) - 1  # slot → number among the visual tokens
    return [
        Row(
            id=sample.id,
            dataset=dataset.name,
            kind=sample.kind,
            question=sample.question,
            answers=list(sample.answers),
            prediction=said[b],
            score=scores[b],
            n_visual=n_visual[b],
            prompt_tokens=prompt[b],
            selection=number[b][selections[b]].tolist(),
            rerun_prediction=said_again[b],
            rerun_score=again[b],
        )
        for b, sample in enumerate(samples)
    ]


def candidates(selections: list[Tensor], settings: Settings) -> list[Tensor]:
    """Selections of the layers that are re-run."""
    layers = torch.tensor(settings.layers, device=selections[0].device) - 1
    return [selection[layers] for selection in selections]


def batches(samples: Mapping[int, Sample], size: int) -> list[list[int]]:
    """Indices of samples of similar question length together: less padding."""
    by_length = sorted(samples, key=lambda index: len(samples[index].question))
    return [by_length[i : i + size] for i in range(0, len(samples), size)]
