"""One batch of samples: the vanilla run, the selections, the re-runs, the scores."""

from __future__ import annotations

from collections.abc import Collection

import torch

from swiftprof.data.base import Dataset, Sample
from swiftprof.models.loading import VLM
from swiftprof.profiling.parts import Row
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import rerun
from swiftprof.profiling.settings import Settings


def measure_batch(
    vlm: VLM, dataset: Dataset, samples: list[Sample], settings: Settings
) -> list[Row]:
    """Everything that a profile says of these samples."""
    inputs = vlm.inputs([s.image for s in samples], [s.question for s in samples])
    recording = record(vlm.model, inputs, vlm.image_token_id, dataset.max_new_tokens)
    selections = recording.select(settings.keep)
    candidates = torch.tensor(settings.layers, device=recording.valid.device) - 1
    answers = rerun(
        vlm.model,
        recording,
        [s[candidates] for s in selections],
        dataset.max_new_tokens,
        end_tokens(vlm),
    )
    predictions = vlm.decode(recording.generated)
    n_visual = recording.visual.sum(1).tolist()
    prompt = recording.valid.sum(1).tolist()
    number = recording.visual.cumsum(1) - 1  # slot → number among the visual tokens
    rows = []
    for b, sample in enumerate(samples):
        again = vlm.decode(answers[b])
        rows.append(
            Row(
                id=sample.id,
                dataset=dataset.name,
                kind=sample.kind,
                question=sample.question,
                answers=list(sample.answers),
                prediction=predictions[b],
                score=dataset.score(predictions[b], sample),
                n_visual=n_visual[b],
                prompt_tokens=prompt[b],
                selection=number[b][selections[b]].tolist(),
                rerun_prediction=again,
                rerun_score=[dataset.score(a, sample) for a in again],
            )
        )
    return rows


def end_tokens(vlm: VLM) -> Collection[int]:
    """Ids that end an answer, as ``generate`` uses them."""
    ends = vlm.model.generation_config.eos_token_id
    if ends is None:
        return ()
    return (ends,) if isinstance(ends, int) else tuple(ends)
