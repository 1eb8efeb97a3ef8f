"""x_i(t) on samples: layers 1..t-1 on everything, layers t..L on layer i's selection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from swiftprof.analysis.base import Progress
from swiftprof.analysis.sampling import Batch, Sampling
from swiftprof.core.stages import BASE_LAYER
from swiftprof.models.loading import VLM
from swiftprof.profiling.likelihood import answer_scores, answer_tokens, rerun_scores
from swiftprof.profiling.record import record
from swiftprof.runtime.decoder import locate

Floats = NDArray[np.float64]


def measured(sampling: Sampling, keep: float, progress: Progress | None = None) -> Floats:
    """x_i(t), `(L - 2, L - 2)`, mean over data sets; NaN where t < i."""
    depth = sampling.vlm.num_layers
    size = depth - BASE_LAYER
    total: dict[str, tuple[Floats, float]] = {}
    for batch in sampling.batches(progress):
        scores, vanilla = _batch(sampling.vlm, batch, keep)
        before, whole = total.get(batch.dataset.name, (np.zeros((size, size)), 0.0))
        total[batch.dataset.name] = (before + scores, whole + vanilla)
    return np.mean([scores / whole for scores, whole in total.values()], axis=0)


def _batch(vlm: VLM, batch: Batch, keep: float) -> tuple[Floats, float]:
    """Sums over a batch of x_i(t)'s scores and of the unpruned model's."""
    tokenizer = getattr(vlm.processor, "tokenizer", vlm.processor)
    references = [batch.dataset.reference(s) for s in batch.samples]
    answers = answer_tokens(references, tokenizer, vlm.model.device)
    entering: dict[int, Any] = {}

    def tap(place: int) -> Any:
        def hook(_: Any, args: Any, kwargs: Any) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            if hidden.shape[1] > 1:
                entering[place] = hidden

        return hook

    layers = locate(vlm.model).layers
    taps = [
        layer.register_forward_pre_hook(tap(place), with_kwargs=True)
        for place, layer in enumerate(layers)
    ]
    try:
        recording = record(vlm.model, batch.inputs, vlm.image_token_id, 1, answers)
    finally:
        for each in taps:
            each.remove()
    selections = recording.select(keep)
    size = len(layers) - BASE_LAYER
    scores = np.full((size, size), np.nan)
    for place in range(size):
        start = BASE_LAYER + place  # 0-based layer that first sees the selection
        candidates = [each[BASE_LAYER : start + 1] for each in selections]
        here = replace(recording, hidden=entering[start])
        with torch.inference_mode():
            found = rerun_scores(vlm.model, here, candidates, answers, start=start)
        scores[: place + 1, place] = np.sum(found, axis=0)
    return scores, sum(answer_scores(vlm.model, recording, answers))
