"""Methods as they are typed, and the plans they become."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from swiftprof.core.stages import judging_layers
from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.specs import ABLATION, Planner, TargetText, parse_spec, targets_of
from swiftprof.methods import REGISTRY, create
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.curve import SampleScores
from swiftprof.planning.fill import Cost, Target
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.planning.preset import plan_preset

MODEL = ModelInfo(name="tiny", num_layers=24, visual_tokens=144)
SHAPE = DecoderShape(24, 128, 384, 4, 4, 32)
COST = Cost(MODEL, SHAPE, 20.0)
THIRD = TargetText("1/3 of the tokens", Target(ratio=1 / 3))


class FakeProfile:
    """Records at layers 3, 7 and 11 of 24."""

    model, decoder, keep, text_tokens, path, sha256 = MODEL, SHAPE, 0.2, 20.0, None, "ab" * 32
    dropped: ClassVar[dict[str, int]] = {}
    layers = tuple(range(2, 25))

    @property
    def samples(self) -> dict[str, SampleScores]:
        row = [{3: 0.6, 7: 0.8, 11: 0.9}.get(layer, 0.3) for layer in self.layers]
        return {"boxes": SampleScores(np.ones(10), np.tile(row, (10, 1)))}


def planner(**changes: object) -> Planner:
    return Planner(**{"cost": COST, "profile": FakeProfile(), **changes})  # type: ignore[arg-type]


def only(text: str, **changes: object) -> Plan:
    """The plan of one method at a third of the tokens."""
    _, variant = planner(**changes).variants([parse_spec(text)], [THIRD])
    plan = variant.load()
    assert plan is not None
    return plan


def test_every_method_gets_the_same_average_number_of_tokens() -> None:
    for name in set(REGISTRY) - {"vanilla"}:
        for ratio in (1 / 3, 2 / 9):
            target = TargetText("n", Target(ratio=ratio))
            _, variant = planner().variants([parse_spec(name)], [target])
            plan = variant.load()
            assert plan is not None
            counts = plan.tokens_per_layer(144)
            assert sum(counts) / 24 == pytest.approx(ratio * 144, abs=0.5), name


def test_layers_come_from_the_profile_the_method_or_the_text() -> None:
    assert only("swiftvlm").pruning_layers == (3, 7, 11)
    assert only("drop@equal").pruning_layers == (3, 10, 17)
    assert only("drop@2+9").pruning_layers == (2, 9)
    assert only("fastv").pruning_layers == (2,)
    assert only("pdrop").pruning_layers == (2, 7, 13, 19)
    assert only("swiftvlm:budget=1").pruning_layers == (7,)
    published = only("swiftvlm", profile=None, layers=(4, 8))
    assert published.pruning_layers == (4, 8)
    with pytest.raises(SwiftprofError, match=r"method swiftvlm at 1/3.*swiftprof profile"):
        planner(profile=None).variants([parse_spec("swiftvlm")], [THIRD])


def test_at_planned_layers_every_method_is_judged_by_them() -> None:
    for name, layers in (
        ("swiftvlm", (3, 7, 11)),
        ("pdrop", (2, 7, 11)),  # the layer that runs next judges
        ("pdrop:positions=kept", (2, 7, 11)),
        ("feather", (3, 8, 12)),  # the layer that has just run
        ("sparsevlm", (3, 8, 12)),
        ("fastv", (3,)),  # one stage
    ):
        name, _, options = name.partition(":")
        spec = f"{name}@planned:{options}".rstrip(":")
        for plan in (only(spec), only(spec, profile=None, layers=(3, 7, 11))):
            method = create(plan.method, plan.options)
            judges = judging_layers(plan.stages, method.scoring, method.first)
            assert [j + 1 for j in judges] == [3, 7, 11][: len(judges)], name
            assert plan.pruning_layers == layers


def test_options_reach_the_plan_and_planning_options_its_stages() -> None:
    plan = only("swiftvlm:seeds=even:spread=0.2:merge=0.1:schedule=uniform")
    assert plan.options == {"seeds": "even", "spread": 0.2}
    assert plan.stages[0].merge == pytest.approx(0.1, abs=0.004)
    totals = [s.keep + s.merge for s in plan.stages]
    assert max(totals) - min(totals) < 0.03


def test_a_preset_is_a_method_that_needs_no_profile() -> None:
    assert not parse_spec("often").needs_profile
    plan = only("often", profile=None)
    wanted = plan_preset("often", MODEL, SHAPE, 20.0, ratio=1 / 3)
    assert (plan.stages, plan.options, plan.method) == (wanted.stages, wanted.options, "swiftvlm")
    changed = only("often:spread=0.2:schedule=uniform", profile=None)
    assert changed.pruning_layers == plan.pruning_layers
    assert changed.options == {**plan.options, "spread": 0.2}
    assert changed.stages != plan.stages
    assert only("often@3+9").pruning_layers == (3, 9)


def test_the_ablation_adds_one_idea_at_a_time() -> None:
    base, layers, merging, bypass = (only(text) for text in ABLATION)
    assert base.options == {"positions": "kept"}
    assert base.pruning_layers != layers.pruning_layers == merging.pruning_layers
    assert all(s.merge == 0 for s in layers.stages)
    assert any(s.merge > 0 for s in merging.stages)
    assert merging.stages == bypass.stages
    assert bypass.method == "swiftvlm"


def test_budgets_in_flops_leave_every_method_at_most_what_was_asked() -> None:
    target = TargetText("f", Target(flops=0.0004))
    prompts = Cost(MODEL, SHAPE, 30.0)  # longer than the profile's
    for name in ("fastv", "swiftvlm", "sparsevlm"):
        _, variant = planner(cost=prompts).variants([parse_spec(name)], [target])
        plan = variant.load()
        assert plan is not None
        cost = prompts.tflops(plan.stages, create(plan.method, plan.options))
        assert cost is not None
        assert 0.00038 < cost <= 0.0004


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("swiftvml", "did you mean 'swiftvlm'"),
        ("drop@late", "planned, own, equal"),
        ("drop:seed", "'seed' must be name=value"),
    ],
)
def test_a_slip_is_named(text: str, named: str) -> None:
    with pytest.raises(SwiftprofError, match=named):
        parse_spec(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("swiftvlm:seeds=odd", "options.seeds"),
        ("fastv:seed=3", "no option 'seed'"),
        ("swiftvlm:merge=much", "merge=much"),
        ("swiftvlm:schedule=odd", "schedule odd"),
        ("feather@8+17", "smallest possible is 5"),
        ("no/such.json", "no such plan file"),
    ],
)
def test_a_plan_that_cannot_be_made_names_method_and_reason(text: str, named: str) -> None:
    target = THIRD if "8+17" not in text else TargetText("20 tokens", Target(retain=20))
    with pytest.raises(SwiftprofError, match=named):
        planner().variants([parse_spec(text)], [target])


def test_plan_files_take_part_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    Plan(model=MODEL, method="fastv", stages=(Stage(layer=2, keep=0.5),)).save(path)
    found = planner().variants([parse_spec("vanilla"), parse_spec(str(path))], [THIRD])
    assert [v.label for v in found] == ["vanilla", str(path)]


def test_plans_and_budgets_as_python_has_them() -> None:
    plan = Plan(model=MODEL, method="fastv", stages=(Stage(layer=2, keep=0.5),))
    [_, found] = planner().variants([parse_spec(plan)], [THIRD])
    assert found.load() == plan.model_copy(update={"source": found.load().source})  # type: ignore[union-attr]
    assert [t.text for t in targets_of(None, [1 / 3, 0.25], None)] == [
        "1/3 of the tokens",
        "0.25 of the tokens",
    ]
    assert targets_of(192, None, None)[0].target == Target(retain=192)
    with pytest.raises(SwiftprofError, match="only one"):
        targets_of(192, 0.5, None)
