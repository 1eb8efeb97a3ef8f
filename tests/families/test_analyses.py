"""Analyses where prompts differ in their number of visual tokens and positions are not plain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from swiftprof.analysis import alignment, overlap, pictures
from swiftprof.analysis.base import Subject
from swiftprof.analysis.following import run_batch
from swiftprof.analysis.ranks import Ranks
from swiftprof.analysis.sampling import Sampling
from swiftprof.data.base import Dataset, Sample
from swiftprof.planning.plan_file import ModelInfo, Plan, Stage

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
    sampling = Sampling(vlm, [Images()], 3, batch_size=3)
    (batch,) = sampling.batches()
    counts = (batch.inputs["input_ids"] == vlm.image_token_id).sum(1).tolist()
    assert len(set(counts)) > 1

    found = Ranks(samples=3).run(Subject(None, lambda: vlm, lambda: [Images()], tmp_path))
    assert found.datasets == {"images": 3}

    for row, (followed,) in enumerate(run_batch(vlm.model, batch.inputs, plan, vlm.image_token_id)):
        rest = counts[row] - round(0.5 * counts[row] + 1e-9)
        assert abs(len(followed.change) - rest) <= 1
        assert torch.isfinite(followed.state).all()
    data = alignment.measure(sampling, {0.1: plan})
    assert data.retain.endswith("% of the visual tokens")
    data.plot()

    drop = plan.model_copy(update={"method": "drop", "stages": (Stage(layer=4, keep=0.5),)})
    overlaps = overlap.measure(sampling, {"drop": drop}, "drop")
    assert overlaps.overlaps[0].mean["images"].low == 1  # its own ranking

    shown = pictures.measure(
        vlm, [Images()], {"swiftvlm": plan}, "swiftvlm", samples=2, show=2, pick="first"
    )
    for picture in shown.pictures:
        assert (picture.grid is not None) == (family == "qwen2_vl")
        kept = picture.methods[1].stages[-1].kept
        assert 0 < len(kept) < max(counts)
    shown.plot()
