"""Names of models, and loading the bundled one."""

from __future__ import annotations

import pytest
import torch

from swiftprof.data.registry import get_dataset
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import load
from swiftprof.models.registry import ModelInfo, bundled_folder, find_model
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.profiling.steps import check_steps
from swiftprof.runtime.prune import prune


def test_aliases_ids_and_folders(tmp_path):
    assert find_model("llava-1.5-7b").id == "llava-hf/llava-1.5-7b-hf"
    assert find_model("someone/some-model").id == "someone/some-model"
    assert find_model(str(bundled_folder())).location == str(bundled_folder())
    with pytest.raises(SwiftprofError, match=r"llava-1\.5-7b"):
        find_model("llava-1.5-7")
    with pytest.raises(SwiftprofError, match=r"config\.json"):
        find_model(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dtype": "int3"}, "dtype int3"), ({"device": "cuda"}, "device cuda")],
)
def test_bad_options_are_named(options, message):
    if "device" in options and torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(SwiftprofError, match=message):
        load("tiny-llava", **options)


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-llava-plain"])
def test_bundled_models_are_small_ordinary_folders(name):
    from transformers import LlavaForConditionalGeneration

    bundled, folder = load(name), bundled_folder(name)
    assert sum(f.stat().st_size for f in folder.iterdir()) < 20e6
    assert not list(folder.glob("*.bin")) + list(folder.glob("*.pt"))
    plain = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    for (name, a), (_, b) in zip(
        plain.named_parameters(), bundled.model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    assert bundled.num_layers >= 16
    assert bundled.visual_tokens == 144


def answers(vlm):
    sample = get_dataset("scenes-qa").sample("test", 0)
    inputs = vlm.inputs([sample.image], [sample.question])
    plan = Plan(
        model=ModelInfo(name="tiny-llava", num_layers=vlm.num_layers),
        stages=(Stage(layer=3, keep=0.5, merge=0.05), Stage(layer=12, keep=0.2)),
    )
    with prune(vlm.model, plan), torch.inference_mode():
        ids = vlm.model.generate(**inputs, do_sample=False, max_new_tokens=4)
    return vlm.decode(ids[:, inputs["input_ids"].shape[1] :]), list(sample.answers)


def test_eight_bits_prune_and_answer():
    pytest.importorskip("bitsandbytes")
    vlm = load("tiny-llava", load_in_8bit=True, device="cpu")
    assert vlm.loading == ("load_in_8bit",)
    assert vlm.model.dtype == torch.float16
    said, right = answers(vlm)
    assert said[0] in right
    check_steps(vlm.model)


def test_layers_spread_over_devices_prune_and_answer(bundled):
    pytest.importorskip("accelerate")
    said, _ = answers(load("tiny-llava", device_map="auto"))
    assert said == answers(bundled)[0]
