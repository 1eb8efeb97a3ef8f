"""A checkpoint folder of every family loads as it is, with its processor, prompts and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from swiftprof.models.families import PLACES, built_in, every_built_in
from swiftprof.models.loading import load


@pytest.fixture
def loaded(case: Any, folder_of: Any, tmp_path: Path) -> Any:
    folder_of(case, tmp_path / case.name)
    return load(str(tmp_path / case.name))


def test_a_folder_of_each_family_gives_the_same_inputs_and_answers(case: Any, loaded: Any) -> None:
    pictures = [[Image.new("RGB", (40, 24), "red")], [], [Image.new("L", (20, 20))] * 2]
    questions = ["w1 w2", "w3", "w4 w5 w6"]
    assert loaded.name == case.name
    assert loaded.num_layers == 8
    wanted, got = (v.inputs(pictures, questions) for v in (case.vlm, loaded))
    assert wanted.keys() == got.keys()
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    answers = [
        v.model.generate(**v.inputs(pictures, questions), max_new_tokens=3, do_sample=False)
        for v in (case.vlm, loaded)
    ]
    assert torch.equal(*answers)


def test_visual_tokens_are_what_prompts_have(case: Any) -> None:
    """Null where prompts differ; otherwise every image has that many, and never more than most."""
    vlm = case.vlm
    counts = {
        int(case.visual(vlm.inputs([Image.new("RGB", size)], ["w1"])).sum())
        for size in ((24, 24), (64, 20), (20, 60))
    }
    if vlm.visual_tokens is None:
        assert len(counts) > 1 or vlm.family.varies
    else:
        assert counts == {vlm.visual_tokens}
    if vlm.family.name.startswith("llava"):
        assert max(counts) <= vlm.family.image_tokens(vlm.model.config)


def test_the_size_that_a_model_sees(case: Any) -> None:
    """Qwen resizes to whole patches; its boxes are pixels of that size."""
    width, height = case.vlm.seen_size(61, 43)
    if not case.name.startswith("qwen"):
        assert (width, height) == (61, 43)
        return
    grid = case.vlm.inputs([Image.new("RGB", (61, 43))], ["w1"])["image_grid_thw"][0].tolist()
    assert [1, height // 4, width // 4] == grid
    assert (width, height) != (61, 43)


def test_every_built_in_family_is_found_by_its_types() -> None:
    kinds = [kind for family in every_built_in() for kind in family.model_types]
    assert sorted(kinds) == sorted(PLACES)
    for kind in kinds:
        family = built_in(kind)
        assert family is not None
        assert kind in family.model_types
