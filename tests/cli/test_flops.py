"""`swiftprof flops`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
LLAVA = ("flops", "--model", "llava-1.5-7b")


def test_vanilla_llava_costs_what_the_paper_prints(swiftprof: Run) -> None:
    found = swiftprof(*LLAVA, "--json").document
    assert found["tflops"] == found["tflops_vanilla"] == pytest.approx(4.29, abs=0.005)
    assert (found["method"], found["retained_tokens"], found["stages"]) == ("vanilla", 576, [])


@pytest.mark.parametrize(
    ("method", "printed"), [("fastv", 1.71), ("pdrop", 1.72), ("swiftvlm", 1.75)]
)
def test_192_tokens_cost_what_the_paper_prints(swiftprof: Run, method: str, printed: float) -> None:
    """The paper's PDrop row leaves out the keys that the judging layers project for the dropped."""
    found = swiftprof(*LLAVA, "--method", method, "--retain", 192, "--json").document
    cost = found["tflops_layers"] if method == "pdrop" else found["tflops"]
    assert cost == pytest.approx(printed, abs=0.015)
    assert found["retained_tokens"] == pytest.approx(192, abs=0.5)


def test_swiftvlm_is_the_default_method_and_ratio_the_same_budget(swiftprof: Run) -> None:
    by_count = swiftprof(*LLAVA, "--method", "swiftvlm", "--retain", 144, "--json").document
    by_ratio = swiftprof(*LLAVA, "--ratio", 0.25, "--json").document
    assert by_ratio.pop("variant") == "swiftvlm | 0.25"
    assert by_count.pop("variant") == "swiftvlm | 144"
    assert by_ratio == by_count
    assert by_count["pruning_layers"] == [3, 11, 15]


def test_all_methods_at_both_budgets_are_the_papers_column(swiftprof: Run) -> None:
    """Paper Table 1: 1.71 to 1.72 T at 192 tokens and 1.28 to 1.30 at 128; bypass adds eq. 19."""
    found = swiftprof(*LLAVA, "--method", "all", "--retain", "192,128", "--json").document
    printed = {
        "fastv": (1.71, 1.29),
        "visionzip": (1.71, 1.29),
        "pdrop": (1.72, 1.28),
        "sparsevlm": (1.72, 1.30),
        "swiftvlm": (1.75, 1.31),
    }
    for method, costs in printed.items():
        rows = [row for row in found["rows"] if row["method"] == method]
        assert [round(row["retained_tokens"]) for row in rows] == [192, 128]
        for row, cost in zip(rows, costs, strict=True):
            allowed = 0.03 if (method, cost) == ("swiftvlm", 1.31) else 0.02
            counted = row["tflops_layers"] if method == "pdrop" else row["tflops"]
            assert counted == pytest.approx(cost, abs=allowed)
            assert "eq. 17-19" in row["formula"]
            parts = row["tflops_layers"] + row["tflops_overhead"]
            assert row["tflops"] == pytest.approx(parts, rel=1e-4)
    shown = swiftprof(*LLAVA, "--method", "all", "--retain", "192,128").out
    assert "visionzip" in shown
    assert "161+31" in shown  # 162 dominant tokens with CLS, 30 contextual


def test_text_tokens_and_layers_count(swiftprof: Run) -> None:
    few = swiftprof(*LLAVA, "--text-tokens", 10, "--json").document
    many = swiftprof(*LLAVA, "--text-tokens", 500, "--json").document
    assert few["text_tokens"] == 10
    assert few["tflops"] < many["tflops"]
    moved = swiftprof(*LLAVA, "--methods", "swiftvlm@2+9", "--retain", 192, "--json").document
    assert moved["pruning_layers"] == [2, 9]


def test_a_plan_costs_here_what_planning_said(swiftprof: Run, curve_file: Path) -> None:
    for method in ("swiftvlm", "drop"):
        plan = swiftprof(
            *("plan", "--curve", curve_file, "--model", "llava-1.5-7b", "--retain", 128),
            *("--method", method, "--json"),
        ).document
        found = swiftprof(*LLAVA, "--plan", "plan.json", "--json").document
        assert found["method"] == method
        assert found["tflops"] == pytest.approx(plan["expected"]["tflops"], abs=1e-4)
        assert found["retained_tokens"] == plan["expected"]["retained_tokens"]


def test_people_get_a_comparison(swiftprof: Run) -> None:
    result = swiftprof(*LLAVA, "--method", "fastv", "--retain", 192)
    assert result.code == 0
    rows = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "vanilla 576 4.29" in rows
    assert any(row.startswith("fastv | 192 191.6 1.71 60 %") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "llava-1.5-8b"], "did you mean"),
        (["--model", "owner/unknown"], "downloads nothing"),
        (["--model", "llava-1.5-7b", "--method", "fastvv", "--retain", "9"], "'fastv'"),
        (["--model", "llava-1.5-7b", "--method", "fastv"], "--retain: missing"),
        (["--model", "llava-1.5-7b", "--retain", "1"], "smallest possible"),
        (["--model", "llava-1.5-7b", "--retain", "9", "--ratio", ".5"], "--retain and --ratio"),
        (["--model", "llava-1.5-7b", "--ratio", "2"], "--ratio 2"),
        (["--model", "llava-1.5-7b", "--methods", "drop@a", "--retain", "99"], "--methods drop@a"),
        (["--model", "llava-1.5-7b", "--methods", "drop@9+3", "--retain", "99"], "must increase"),
        (["--model", "llava-1.5-7b", "--methods", "drop@40", "--retain", "99"], "outside 1..32"),
        (["--model", "llava-1.5-7b", "--plan", "no.json"], "no.json: no such plan file"),
        (["--model", "llava-1.5-7b", "--plan", "p", "--retain", "9"], "--retain: does not go"),
        (["--model", "llava-1.5-7b", "--text-tokens", "-1"], "--text-tokens"),
    ],
)
def test_a_bad_input_is_one_line_that_names_it(
    swiftprof: Run, arguments: list[str], named: str
) -> None:
    assert named in swiftprof("flops", *arguments).complaint


def test_a_plan_for_another_depth_is_refused(swiftprof: Run, curve_file: Path) -> None:
    swiftprof("plan", "--curve", curve_file)
    complaint = swiftprof("flops", "--model", "llava-1.5-13b", "--plan", "plan.json").complaint
    assert "32 layers" in complaint
    assert "40" in complaint


def test_the_bundled_model_needs_no_name_and_its_small_costs_are_not_rounded_away(
    swiftprof: Run, tmp_path: Path
) -> None:
    found = swiftprof("flops", "--ratio", 0.5, "--json").document
    assert found["model"] == "tiny-llava"
    assert found["visual_tokens"] == 144
    assert 0 < found["tflops_overhead"] < found["tflops"] < found["tflops_vanilla"] < 0.1
    assert "GFLOPs" in swiftprof("flops").out
