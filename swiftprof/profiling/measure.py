"""One batch of samples: the vanilla run, the selections, the re-runs, the scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from swiftprof.data.base import Dataset, Sample
from swiftprof.models.batch_size import most_rows
from swiftprof.models.loading import VLM
from swiftprof.profiling.decode import end_tokens
from swiftprof.profiling.likelihood import answer_scores, answer_tokens, rerun_scores
from swiftprof.profiling.record import Recording, record
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

    Args:
        steps: of the model.
        max_rows: re-runs that run at once, where memory allows; None for what suits the device.
    """
    max_rows = max_rows or most_rows(str(vlm.model.device))
    inputs = vlm.inputs([s.images for s in samples], [s.question for s in samples])
    if settings.score == "nll":
        return _measure_likelihood(vlm, steps, dataset, samples, inputs, settings, max_rows)
    recording = record(steps, inputs, vlm.image_token_id, dataset.max_new_tokens)
    selections = recording.select(settings.keep)
    answers = rerun(
        recording,
        candidates(selections, settings),
        dataset.max_new_tokens,
        end_tokens(vlm.model),
        max_rows,
    )
    predictions = vlm.decode(recording.generated)
    again = [vlm.decode(each) for each in answers]
    return _rows(
        dataset,
        samples,
        recording,
        selections,
        predictions,
        [dataset.score(p, s) for p, s in zip(predictions, samples, strict=True)],
        again,
        [[dataset.score(a, s) for a in each] for each, s in zip(again, samples, strict=True)],
        recording.valid.sum(1).tolist(),
    )


def _measure_likelihood(
    vlm: VLM,
    steps: Steps,
    dataset: Dataset,
    samples: list[Sample],
    inputs: dict[str, Any],
    settings: Settings,
    max_rows: int,
) -> list[Row]:
    """The same with the reference answers' likelihood for a score; predictions stay empty."""
    tokenizer = getattr(vlm.processor, "tokenizer", vlm.processor)
    references = [dataset.reference(s) for s in samples]
    answers = answer_tokens(references, tokenizer, vlm.model.device)
    recording = record(steps, inputs, vlm.image_token_id, 1, answers)
    selections = recording.select(settings.keep)
    scores = answer_scores(recording, answers)
    again = rerun_scores(recording, candidates(selections, settings), answers, max_rows)
    return _rows(
        dataset,
        samples,
        recording,
        selections,
        [""] * len(samples),
        scores,
        [[""] * len(each) for each in again],
        again,
        inputs["attention_mask"].sum(1).tolist(),
    )


def candidates(selections: list[Tensor], settings: Settings) -> list[Tensor]:
    """Selections of the layers that are re-run."""
    layers = torch.tensor(settings.layers, device=selections[0].device) - 1
    return [selection[layers] for selection in selections]


def _rows(
    dataset: Dataset,
    samples: list[Sample],
    recording: Recording,
    selections: list[Tensor],
    predictions: list[str],
    scores: list[float],
    rerun_predictions: list[list[str]],
    rerun_scores: list[list[float]],
    prompt: list[int],
) -> list[Row]:
    n_visual = recording.visual.sum(1).tolist()
    number = recording.visual.cumsum(1) - 1  # slot → number among the visual tokens
    return [
        Row(
            id=sample.id,
            dataset=dataset.name,
            kind=sample.kind,
            question=sample.question,
            answers=list(sample.answers),
            prediction=predictions[b],
            score=scores[b],
            n_visual=n_visual[b],
            prompt_tokens=prompt[b],
            selection=number[b][selections[b]].tolist(),
            rerun_prediction=rerun_predictions[b],
            rerun_score=rerun_scores[b],
        )
        for b, sample in enumerate(samples)
    ]


def batches(samples: Mapping[int, Sample], size: int) -> list[list[int]]:
    """Indices of samples of similar question length together: less padding."""
    by_length = sorted(samples, key=lambda index: len(samples[index].question))
    return [by_length[i : i + size] for i in range(0, len(samples), size)]
