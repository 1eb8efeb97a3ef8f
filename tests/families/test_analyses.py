"""Analyses where prompts differ in their number of visual tokens and positions are not plain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from swiftprof.analysis.base import Subject
from swiftprof.analysis.pictures import PicturesAnalysis
from swiftprof.analysis.ranks import Ranks
from swiftprof.data.asking import ask
from swiftprof.data.base import Dataset, Sample
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage

SIZES = ((24, 24), (40, 24), (24, 48))


class Images(Dataset):
    """Three images of different sizes, each with a question of words that the models know."""

    name, description, metric, licence = "images", "", "", ""
    max_new_tokens = 2

    @property
    def splits(self) -> Mapping[str, int]:
        return {"test": len(SIZES)}

    def sample(self, split: str, index: int) -> Sample:
        from PIL import Image

        noise = torch.rand(*SIZES[index], 3, generator=torch.Generator().manual_seed(index))
        image = Image.fromarray((noise * 255).to(torch.uint8).numpy())
        return Sample(f"{index}", image, " ".join(f"w{n + index}" for n in range(5)), ("w1",))

    def score(self, prediction: str, sample: Sample) -> float:
        return float(len(prediction) % 2)


@pytest.mark.parametrize("family", ["llava_next", "qwen2_vl"])
def test_analyses_run_in_families_with_other_prompts(
    build: Callable[[str], Any], family: str, tmp_path: Path
) -> None:
    vlm = build(family).vlm
    model = ModelInfo(name="m", num_layers=vlm.num_layers, visual_tokens=None)
    stages = (Stage(layer=2, keep=0.5, merge=0.1), Stage(layer=5, keep=0.3))
    plan = Plan(model=model, stages=stages)
    subject = Subject(None, lambda: vlm, lambda: [Images()], tmp_path)
    samples = [ask(Images(), Images().sample("test", index), vlm) for index in range(3)]
    inputs = vlm.inputs([s.images for s in samples], [s.question for s in samples])
    counts = (inputs["input_ids"] == vlm.image_token_id).sum(1).tolist()
    assert len(set(counts)) > 1

    assert Ranks(samples=3).run(subject).datasets == {"images": 3}
    shown = PicturesAnalysis(samples=2, show=2, pick="first").measured(subject, {"swiftvlm": plan})
    assert shown.retain.endswith("% of the visual tokens")
    for picture in shown.pictures:
        assert (picture.grid is not None) == (family == "qwen2_vl")
        kept = picture.methods[1].stages[-1].kept
        assert 0 < len(kept) < max(counts)
    shown.plot()
