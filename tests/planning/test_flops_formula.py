"""FLOPs against the paper's numbers and against counting by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from swiftprof.costs.flops import (
    PAPER_TEXT_TOKENS,
    DecoderShape,
    decode_flops,
    layer_flops,
    overhead_flops,
    plan_flops,
    prefill_flops,
    stages_overhead_flops,
    vanilla_flops,
)
from swiftprof.errors import SwiftprofError
from swiftprof.methods import REGISTRY, create
from swiftprof.models.registry import known_model
from swiftprof.planning.budget import fill_budget
from swiftprof.planning.plan_file import Stage

LLAVA = known_model("llava-1.5-7b").shape
SWIFTVLM = create("swiftvlm")


def test_vanilla_llava_costs_what_the_paper_prints() -> None:
    assert vanilla_flops(LLAVA, 576, PAPER_TEXT_TOKENS) / 1e12 == pytest.approx(4.29, abs=0.005)


def cost_of(name: str, retain: float) -> float:
    """TFLOPs of LLaVA-1.5-7B pruned by a method at its own layers."""
    method = create(name)
    layers = method.default_layers(32, retain / 576)
    stages = fill_budget(layers, 32, 576, retain, method=method)
    return plan_flops(LLAVA, stages, 576, PAPER_TEXT_TOKENS, method=method) / 1e12


def published(name: str, stages: list[tuple[int, int, int]]) -> float:
    """TFLOPs of stages given as (layer, kept, merged) of 576 tokens."""
    parts = [Stage(layer=layer, keep=k / 576, merge=z / 576) for layer, k, z in stages]
    cost = plan_flops(LLAVA, parts, 576, PAPER_TEXT_TOKENS, method=create(name))
    return cost / 1e12


@pytest.mark.parametrize(("retain", "printed"), [(192, "1.71"), (128, "1.29")])
def test_pruning_before_the_decoder_costs_what_the_paper_prints(
    retain: float, printed: str
) -> None:
    assert f"{cost_of('visionzip', retain):.2f}" == printed


@pytest.mark.parametrize(("retain", "printed"), [(192, 1.71), (128, 1.29)])
def test_one_early_cut_costs_what_the_paper_prints_for_fastv(retain: float, printed: float) -> None:
    # The square of 576 tokens in the first two layers makes 0.01 of difference to 1.71.
    assert cost_of("fastv", retain) == pytest.approx(printed, abs=0.012)


def test_bypass_at_192_tokens_costs_what_the_paper_prints_overhead_included() -> None:
    assert f"{cost_of('swiftvlm', 192):.2f}" == "1.75"


def test_the_papers_figure_at_128_tokens_holds_eq_19_once_and_two_stages_cost_it_twice() -> None:
    """Printed: 1.31. Two of the three stages restore and project keys anew, 0.018 T each."""
    method = create("swiftvlm")
    stages = fill_budget([3, 11, 15], 32, 576, 128)
    twice = stages_overhead_flops(LLAVA, stages, 576, method=method) / 1e12
    layers = cost_of("swiftvlm", 128) - twice
    assert layers == pytest.approx(1.30, abs=0.005)
    assert layers + twice / 2 == pytest.approx(1.31, abs=0.01)
    assert f"{layers + twice:.2f}" == "1.34"


def test_published_settings_cost_what_their_sources_count() -> None:
    sparse = [(3, 300, 9), (8, 200, 4), (17, 110, 3)]  # v1.5 at a nominal 192: 206.5 in truth
    assert published("sparsevlm", sparse) == pytest.approx(1.816, abs=0.01)
    assert published("feather", [(8, 217, 0), (17, 19, 0)]) == pytest.approx(1.832, abs=0.02)


def test_llava_next_costs_its_own_column() -> None:
    known = known_model("llava-next-7b")
    assert (known.shape, known.visual_tokens) == (LLAVA, 2880)
    assert f"{vanilla_flops(LLAVA, 2880, PAPER_TEXT_TOKENS) / 1e12:.2f}" == "21.39"
    for retain, printed in ((640, "4.73"), (320, "2.57"), (160, "1.50")):
        layers = [Stage(layer=0, keep=retain / 2880)]
        cost = plan_flops(LLAVA, layers, 2880, PAPER_TEXT_TOKENS, method=create("visionzip"))
        assert f"{cost / 1e12:.2f}" == printed


def test_decoding_costs_one_token_against_each_layers_cache() -> None:
    n, d, m = 646, 4096, 11008
    assert decode_flops(LLAVA, [], 576, 70) == 32 * (4 * d**2 + 2 * (n + 1) * d + 3 * d * m)
    pruned = decode_flops(LLAVA, [Stage(layer=2, keep=100 / 576)], 576, 70)
    assert decode_flops(LLAVA, [], 576, 70) - pruned == 30 * 2 * 476 * d


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
    alone = stages_overhead_flops(LLAVA, [first], n, method=SWIFTVLM)
    assert alone == 2 * n * d + 2 * 288 * 29 * d
    both = stages_overhead_flops(LLAVA, [first, second], n, method=SWIFTVLM)
    paper = overhead_flops(LLAVA, n, 432, 29, 0.25)
    # Eq. 19 aligns the R tokens it bypasses; here those of the stage before return (288, not 432).
    assert both - alone == pytest.approx(paper - (432 - 288) * d)


def test_dropping_pays_for_the_keys_of_what_it_drops_and_not_for_alignment() -> None:
    first, second = Stage(layer=3, keep=300 / 576), Stage(layer=11, keep=100 / 576)
    d = 4096
    cost = stages_overhead_flops(LLAVA, [first, second], 576, method=create("drop"))
    # The second stage chooses among 300 and layer 11 projects the keys of 200 that it never sees.
    assert cost == 2 * 576 * d + 2 * 300 * d + 2 * d * d + 2 * 200 * d * d
    both = stages_overhead_flops(LLAVA, [first, second], 576, method=SWIFTVLM)
    assert both - cost == 2 * 276 * d + 276 * d + 2 * 276 * d * d
    random = stages_overhead_flops(LLAVA, [first, second], 576, method=create("random"))
    assert random == 0


@pytest.mark.parametrize("name", ["swiftvlm", "drop", "random"])
def test_spreading_compares_what_is_left_with_every_kept_token(name: str) -> None:
    stages = [Stage(layer=3, keep=0.5), Stage(layer=11, keep=0.25)]
    plain, spread = (create(name, {"spread": share}) for share in (0.0, 0.35))
    first, second = (stages_overhead_flops(LLAVA, stages, 576, method=m) for m in (plain, spread))
    present = 576 if plain.bypass else 288
    left = [576 - 187, present - 94]  # 65 % of 288 and of 144 are chosen by score
    assert second - first == pytest.approx((288 * left[0] + 144 * left[1]) * 4096)


def test_keeping_everything_costs_the_vanilla_prefill_plus_scoring() -> None:
    stages = [Stage(layer=3, keep=1.0)]
    scoring = 2 * 576 * 4096
    assert (
        plan_flops(LLAVA, stages, 576, 70, method=SWIFTVLM)
        == vanilla_flops(LLAVA, 576, 70) + scoring
    )
    assert prefill_flops(LLAVA, [646] * 32) == vanilla_flops(LLAVA, 576, 70)


def test_published_layers_scale_with_depth_and_stay_possible() -> None:
    assert create("swiftvlm").default_layers(32) == (3, 11, 15)
    assert create("fastv").default_layers(40) == (2,)
    for name in set(REGISTRY) - {"vanilla"}:
        for depth in (8, 12, 28, 40, 80):
            for ratio in (None, 1 / 3, 2 / 9):
                layers = create(name).default_layers(depth, ratio)
                assert all(b > a for a, b in pairwise(layers))
                assert layers[-1] < depth
    with pytest.raises(SwiftprofError, match="too few"):
        create("swiftvlm").default_layers(3)
    with pytest.raises(SwiftprofError, match="did you mean 'fastv'"):
        create("fast-v")


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
    with pytest.raises(SwiftprofError, match="not a configuration with a decoder"):
        known_model(folder(tmp_path, model_type="x", text_config={"model_type": "gpt"}))
    with pytest.raises(SwiftprofError, match="downloads nothing"):
        known_model("someone/some-model")
