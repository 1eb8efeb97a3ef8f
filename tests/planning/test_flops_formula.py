"""FLOPs against the paper's numbers and against counting by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from swiftprof.errors import SwiftprofError
from swiftprof.measure.flops import (
    PAPER_TEXT_TOKENS,
    DecoderShape,
    layer_flops,
    overhead_flops,
    plan_flops,
    prefill_flops,
    stages_overhead_flops,
    vanilla_flops,
)
from swiftprof.measure.settings import PUBLISHED_LAYERS, default_layers
from swiftprof.measure.shapes import known_model
from swiftprof.planning.budget import fill_budget
from swiftprof.planning.plan_file import Stage

LLAVA = known_model("llava-1.5-7b").shape


def test_vanilla_llava_costs_what_the_paper_prints() -> None:
    assert vanilla_flops(LLAVA, 576, PAPER_TEXT_TOKENS) / 1e12 == pytest.approx(4.29, abs=0.005)


@pytest.mark.parametrize(("retain", "printed"), [(192, 1.71), (128, 1.29)])
def test_one_early_cut_costs_what_the_paper_prints_for_fastv(retain: float, printed: float) -> None:
    stages = fill_budget([2], 32, 576, retain, merge_share=0)
    cost = plan_flops(LLAVA, stages, 576, PAPER_TEXT_TOKENS, bypass=False) / 1e12
    assert cost == pytest.approx(printed, abs=0.01)


def test_swiftvlm_with_192_tokens_costs_what_the_paper_prints_with_its_overhead() -> None:
    stages = fill_budget([3, 11, 15], 32, 576, 192)
    assert plan_flops(LLAVA, stages, 576, PAPER_TEXT_TOKENS) / 1e12 == pytest.approx(1.75, abs=0.01)


def test_the_layer_formula_is_equation_17_without_grouped_queries() -> None:
    n, d, m = 646.0, 4096, 11008
    assert layer_flops(LLAVA, n) == 4 * n * d**2 + 2 * n**2 * d + 3 * n * d * m


def test_grouped_queries_make_keys_and_values_cheaper_by_their_width() -> None:
    full = DecoderShape(4, 64, 128, 8, 8, 8)
    grouped = DecoderShape(4, 64, 128, 8, 2, 8)
    saved = layer_flops(full, 10) - layer_flops(grouped, 10)
    assert saved == 2 * 10 * 64 * (64 - 16)


def test_the_overhead_formula_is_equation_19() -> None:
    n, d, low, merged, share = 576, 4096, 276, 28, 300 / 576
    by_hand = 2 * low * merged * d + low * d + 2 * n * d + 2 * d**2 + 2 * (1 - share) * n * d**2
    assert overhead_flops(LLAVA, n, low, merged, share) == pytest.approx(by_hand)


def test_a_middle_stage_of_a_plan_pays_equation_19_and_the_first_only_what_it_needs() -> None:
    first, second = Stage(layer=3, keep=0.5, merge=0.05), Stage(layer=11, keep=0.25, merge=0.05)
    n, d = 576, 4096
    alone = stages_overhead_flops(LLAVA, [first], n)
    assert alone == 2 * n * d + 2 * 288 * 29 * d
    both = stages_overhead_flops(LLAVA, [first, second], n)
    paper = overhead_flops(LLAVA, n, 432, 29, 0.25)
    # Eq. 19 aligns the R tokens it bypasses; here those of the stage before return (288, not 432).
    assert both - alone == pytest.approx(paper - (432 - 288) * d)


def test_dropping_never_pays_for_alignment_or_keys() -> None:
    stages = fill_budget([3, 11, 15], 32, 576, 192, merge_share=0)
    dropped = stages_overhead_flops(LLAVA, stages, 576, bypass=False)
    assert dropped < 0.01 * stages_overhead_flops(LLAVA, stages, 576)


def test_keeping_everything_costs_the_vanilla_prefill_plus_scoring() -> None:
    stages = [Stage(layer=3, keep=1.0)]
    scoring = 2 * 576 * 4096
    assert plan_flops(LLAVA, stages, 576, 70) == vanilla_flops(LLAVA, 576, 70) + scoring
    assert prefill_flops(LLAVA, [646] * 32) == vanilla_flops(LLAVA, 576, 70)


def test_published_layers_scale_with_depth_and_stay_possible() -> None:
    assert default_layers("swiftvlm", 32) == (3, 11, 15)
    assert default_layers("fastv", 40) == (2,)
    for method in PUBLISHED_LAYERS:
        for depth in (8, 12, 28, 40, 80):
            layers = default_layers(method, depth)
            assert all(b > a for a, b in pairwise(layers))
            assert len(layers) < 2 or layers[1] >= layers[0] + 2
            assert layers[-1] < depth
    with pytest.raises(SwiftprofError, match="too few"):
        default_layers("swiftvlm", 3)
    with pytest.raises(SwiftprofError, match="did you mean 'fastv'"):
        default_layers("fast-v", 32)


def folder(path: Path, **config: Any) -> str:
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


def test_a_local_configuration_gives_shape_and_visual_tokens(tmp_path: Path) -> None:
    known = known_model(
        folder(
            tmp_path,
            model_type="llava",
            vision_config={"image_size": 96, "patch_size": 8},
            text_config={
                "model_type": "llama",
                "num_hidden_layers": 12,
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
            },
        )
    )
    assert known.shape == DecoderShape(12, 128, 384, 4, 2, 32)
    assert known.visual_tokens == 144


def test_llama_defaults_fill_what_a_llava_configuration_leaves_out(tmp_path: Path) -> None:
    text = {"model_type": "llama", "max_position_embeddings": 4096}
    vision = {"image_size": 336, "patch_size": 14}
    known = known_model(
        folder(tmp_path, model_type="llava", text_config=text, vision_config=vision)
    )
    assert known.shape == LLAVA
    assert known.visual_tokens == 576


def test_models_whose_images_differ_have_no_number_of_visual_tokens(tmp_path: Path) -> None:
    sizes = {
        "model_type": "qwen2_vl_text",
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    }
    known = known_model(folder(tmp_path, model_type="qwen2_vl", text_config=sizes))
    assert known.visual_tokens is None
    assert known.shape.key_size == 512


def test_configurations_without_sizes_and_unknown_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SwiftprofError, match="num_attention_heads: must be a whole number"):
        known_model(folder(tmp_path, model_type="x", text_config={"model_type": "gpt"}))
    with pytest.raises(SwiftprofError, match="downloads nothing"):
        known_model("someone/some-model")
