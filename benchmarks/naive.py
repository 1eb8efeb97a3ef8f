"""Profiling as its definition reads: one `generate()` call for every layer of every sample.

The reference that profiling is timed against and compared with. It is spared one thing: selections
come from the last token's attention row, not from whole attention maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftprof.core.stages import BASE_LAYER
from swiftprof.data.base import Dataset, Sample
from swiftprof.methods.base import Method
from swiftprof.methods.view import StageView
from swiftprof.models.loading import VLM
from swiftprof.planning.plan_file import ModelInfo, Plan, Stage
from swiftprof.profiling.record import record
from swiftprof.runtime.prune import prune


@dataclass(frozen=True)
class Answers:
    """What the model says of one sample: unpruned, and on each candidate layer's selection."""

    vanilla: str
    reruns: list[str]


@dataclass(frozen=True)
class GivenSelection(Method):
    """Keep the tokens that were named beforehand.

    Options:
        tokens: visual tokens by their place among the prompt's visual tokens, (n,).
    """

    tokens: tuple[int, ...] = ()

    def scores(self, view: StageView) -> Tensor:
        """1 for the named tokens, 0 for the others."""
        named = torch.tensor(self.tokens, device=view.index.device)
        return torch.isin(view.index, named).float()


@torch.inference_mode()
def profile_one(
    vlm: VLM, dataset: Dataset, sample: Sample, layers: Sequence[int], keep: float
) -> Answers:
    """Profile one sample with one call per layer.

    Args:
        layers: candidate layers, 1-based.
        keep: V.
    """
    inputs = vlm.inputs([sample.image], [sample.question])
    recording = record(vlm.model, inputs, vlm.image_token_id, dataset.max_new_tokens)
    number = recording.visual[0].cumsum(0) - 1
    selections = recording.select(keep)[0]
    plan = Plan(
        model=ModelInfo(name=vlm.name, num_layers=vlm.num_layers),
        method="drop",
        stages=(Stage(layer=BASE_LAYER, keep=keep),),
    )
    reruns = []
    for layer in layers:
        chosen = GivenSelection(tuple(number[selections[layer - 1]].tolist()))
        with prune(vlm.model, plan, method=chosen):
            ids = vlm.model.generate(  # type: ignore[operator]
                **inputs, do_sample=False, num_beams=1, max_new_tokens=dataset.max_new_tokens
            )
        reruns += vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
    return Answers(vlm.decode(recording.generated)[0], reruns)
