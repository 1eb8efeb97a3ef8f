"""Profiling as its definition reads: one `generate()` call for every layer of every sample.

The reference that profiling is timed against and compared with. It is spared one thing: the
selections are given, not found.
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
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage
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
    vlm: VLM, dataset: Dataset, sample: Sample, selections: Sequence[Sequence[int]], keep: float
) -> Answers:
    """Answer one sample with one call for the vanilla model and one per selection.

    Args:
        selections: per candidate layer the visual tokens kept, by their place among the prompt's.
        keep: V.
    """
    inputs = vlm.inputs([sample.image], [sample.question])
    prompt = inputs["input_ids"].shape[1]

    def answer() -> str:
        ids = vlm.model.generate(  # type: ignore[operator]
            **inputs, do_sample=False, num_beams=1, max_new_tokens=dataset.max_new_tokens
        )
        return vlm.decode(ids[:, prompt:])[0]

    plan = Plan(
        model=ModelInfo(name=vlm.name, num_layers=vlm.num_layers),
        method="drop",
        stages=(Stage(layer=BASE_LAYER, keep=keep),),
    )
    vanilla, reruns = answer(), []
    for chosen in selections:
        with prune(vlm.model, plan, method=GivenSelection(tuple(chosen))):
            reruns.append(answer())
    return Answers(vanilla, reruns)
