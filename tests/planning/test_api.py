"""`swiftprof.plan` on profiles made in memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swiftprof
from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import SwiftprofError
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.curve import Curve, SampleScores
from tests.helpers.curves import plan_of_curve

DECODER = DecoderShape(12, 128, 384, 4, 4, 32)
LAYERS = tuple(range(2, 13))


def answers(heights: dict[int, float], size: int = 50) -> SampleScores:
    """Scores that are the same for every sample: `heights`, 0.3 at other layers."""
    row = np.array([heights.get(layer, 0.3) for layer in LAYERS])
    return SampleScores(np.ones(size), np.tile(row, (size, 1)))


@dataclass(frozen=True)
class FakeProfile:
    """What planning reads of a profile."""

    samples: dict[str, SampleScores] = field(
        default_factory=lambda: {"boxes": answers({3: 0.5, 5: 0.8, 8: 0.95})}
    )
    visual_tokens: int | None = 144
    decoder: Any = DECODER
    layers: tuple[int, ...] = LAYERS
    keep: float = 0.2
    text_tokens: float = 20.5
    path: Path | None = None
    sha256: str = "ab" * 32
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def model(self) -> ModelInfo:
        return ModelInfo(name="tiny", num_layers=12, visual_tokens=self.visual_tokens)


def test_a_plan_holds_layers_cost_promise_error_bars_and_origin() -> None:
    plan = swiftprof.plan(FakeProfile(), budget=3, retain=60)
    assert plan.pruning_layers == (3, 5, 8)
    assert plan.method == "swiftvlm"
    assert plan.budget is not None
    assert (plan.budget.layers, plan.budget.retain) == (3, 60)
    realised = sum(plan.tokens_per_layer(144)) / 12
    assert plan.expected.retained_tokens == pytest.approx(realised, abs=1e-3)
    assert abs(realised - 60) <= 0.5
    assert plan.expected.tflops is not None
    assert plan.expected.tflops_vanilla is not None
    assert 0 < plan.expected.tflops < plan.expected.tflops_vanilla
    assert plan.expected.area == pytest.approx((0.3 * 1 + 0.5 * 2 + 0.8 * 3 + 0.95 * 4) / 10)
    assert plan.stability is not None
    assert plan.stability.plan_frequency == 1
    assert plan.source.datasets == ("boxes",)
    assert (plan.source.samples, plan.source.keep) == (50, 0.2)
    assert plan.source.sha256 == "ab" * 32
    assert plan.notes == ()


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = swiftprof.plan(FakeProfile(), retain=60)
    assert swiftprof.Plan.load(plan.save(tmp_path / "plan.json")) == plan


def test_ratio_and_retain_are_the_same_budget_and_a_third_is_the_default() -> None:
    by_ratio = swiftprof.plan(FakeProfile(), ratio=0.375, bootstrap=0)
    by_count = swiftprof.plan(FakeProfile(), retain=54, bootstrap=0)
    assert by_ratio == by_count
    default = swiftprof.plan(FakeProfile(), bootstrap=0)
    assert default.budget is not None
    assert default.budget.retain == pytest.approx(48)


def test_a_cost_in_flops_is_kept_and_used_up() -> None:
    free = swiftprof.plan(FakeProfile(), retain=60, bootstrap=0)
    vanilla = free.expected.tflops_vanilla
    assert vanilla is not None
    # Larger sizes, or the tiny model's costs vanish in rounding.
    big = FakeProfile(decoder=vars(DecoderShape(12, 4096, 11008, 32, 32, 128)))
    plan = swiftprof.plan(big, flops=0.25, bootstrap=0)
    assert plan.expected.tflops == pytest.approx(0.25, rel=0.02)
    assert plan.expected.tflops is not None
    assert plan.expected.tflops <= 0.25
    with pytest.raises(SwiftprofError, match="smallest possible is") as caught:
        swiftprof.plan(big, flops=0.01, bootstrap=0)
    named = float(str(caught.value).split("smallest possible is ")[1].split()[0])
    swiftprof.plan(big, flops=named, bootstrap=0)
    with pytest.raises(SwiftprofError, match="without pruning"):
        swiftprof.plan(big, flops=9, bootstrap=0)


def test_only_bypass_merges() -> None:
    kept = swiftprof.plan(FakeProfile(), retain=60, method="drop", bootstrap=0)
    merged = swiftprof.plan(FakeProfile(), retain=60, bootstrap=0)
    assert all(stage.merge == 0 for stage in kept.stages)
    assert [stage.merge > 0 for stage in merged.stages] == [True, True, False]
    assert kept.tokens_per_layer(144) == merged.tokens_per_layer(144)


def test_fewer_layers_than_asked_for_come_with_a_note() -> None:
    plan = swiftprof.plan(FakeProfile(), budget=5, retain=60, bootstrap=10)
    assert len(plan.stages) == 3
    assert "only 3 of the 5" in plan.notes[0]


def test_the_default_gives_way_where_the_first_layer_is_too_late_for_a_third() -> None:
    late = FakeProfile(samples={"boxes": answers({6: 0.9})})
    plan = swiftprof.plan(late, budget=1, bootstrap=0)
    assert "too late to retain a third" in plan.notes[0]
    assert plan.budget is not None
    assert plan.budget.retain is not None
    assert 72 < plan.budget.retain < 144
    with pytest.raises(SwiftprofError, match="smallest possible is 73"):
        swiftprof.plan(late, budget=1, ratio=1 / 3, bootstrap=0)


def test_a_model_with_a_varying_number_of_tokens_is_planned_by_ratio() -> None:
    profile = FakeProfile(visual_tokens=None)
    plan = swiftprof.plan(profile, ratio=0.4, bootstrap=0)
    assert plan.expected.retained_tokens is None
    assert plan.expected.tflops is None
    for n in (1000, 2880):
        assert sum(plan.tokens_per_layer(n)) / 12 / n == pytest.approx(0.4, abs=0.002)
    with pytest.raises(SwiftprofError, match="retain 50: the number of visual tokens"):
        swiftprof.plan(profile, retain=50)


def test_data_sets_are_normalised_as_asked() -> None:
    # "low" alone would choose layer 4; relative scores let "high" decide, minmax does not.
    samples = {
        "high": answers({3: 0.9, 4: 0.3}),
        "low": answers(dict.fromkeys(LAYERS, 0.001) | {3: 0.001, 4: 0.011}),
    }
    relative = swiftprof.plan(FakeProfile(samples=samples), 1, bootstrap=0)
    assert relative.pruning_layers == (3,)
    spread = {"a": samples["low"], "b": samples["low"], "c": samples["high"]}
    minmax = swiftprof.plan(
        FakeProfile(samples=spread), 1, ratio=0.5, bootstrap=0, normalize="minmax"
    )
    assert minmax.pruning_layers == (4,)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retain": 50, "ratio": 0.3}, "retain and ratio: give only one"),
        ({"retain": 50, "flops": 1}, "retain and flops: give only one"),
        ({"ratio": 1.0}, "ratio 1: must be below 1"),
        ({"ratio": -0.1}, "ratio -0.1: must be a number above 0"),
        ({"retain": float("nan")}, "retain nan"),
        ({"retain": 144}, "retain 144"),
        ({"budget": 0}, "budget 0"),
        ({"method": "swiftvml"}, "did you mean 'swiftvlm'"),
        ({"schedule": "cubic"}, "schedule cubic"),
        ({"bootstrap": -1}, "bootstrap -1"),
    ],
)
def test_impossible_requests_are_refused_by_option(options: dict[str, Any], named: str) -> None:
    with pytest.raises(SwiftprofError, match=named) as caught:
        swiftprof.plan(FakeProfile(), **options)
    assert "\n" not in str(caught.value)


def test_a_flat_curve_has_no_plan() -> None:
    with pytest.raises(SwiftprofError, match="no layer tells visual tokens apart better"):
        swiftprof.plan(FakeProfile(samples={"boxes": answers({})}))


def test_a_bare_curve_gives_the_same_layers_and_no_error_bars() -> None:
    curve = Curve(12, LAYERS, np.array([0.3, 0.5, 0.3, 0.8, 0.3, 0.3, 0.95, *[0.3] * 4]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = plan_of_curve(curve, ratio=0.4)
    assert plan.pruning_layers == (3, 5, 8)
    assert plan.stability is None
    assert plan.expected.tflops is None
    with pytest.raises(SwiftprofError, match="has num_layers 12, but other has 40"):
        plan_of_curve(curve, ModelInfo(name="other", num_layers=40))
