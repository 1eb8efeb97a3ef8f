"""The bundled models see, the taught one's layers differ, its shipped plan keeps its answers."""

from __future__ import annotations

import pytest
import torch

import swiftprof
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, get_dataset
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.compare import compare
from swiftprof.evaluation.variants import variants_of
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.profiling.store import Profile
from swiftprof.tiny import bundled_profiles

SHIPPED = bundled_profiles()["tiny-llava"]
SAMPLES = 100


@pytest.fixture(scope="module")
def outcomes(bundled):
    plan = Plan.load("tiny-llava")
    blind = Plan(model=plan.model, method="random", stages=(Stage(layer=2, keep=1 / 3),))
    variants = {VANILLA: None, **variants_of(plan), "random third from layer 3": blind}
    out = {}
    for name in BUNDLED:
        dataset = get_dataset(name)
        out[name] = compare(bundled, dataset, draw(dataset, "test", SAMPLES, 7), variants)
    return out


@pytest.mark.parametrize("name", BUNDLED)
def test_vanilla_sees(outcomes, name):
    assert outcomes[name][VANILLA].score >= 0.9  # 0.95 and more on large samples


def test_the_shipped_plan_keeps_the_answers_with_a_third_of_the_tokens(outcomes):
    for name in BUNDLED:
        result = outcomes[name]
        assert _except_counting(result["bypass"]) >= _except_counting(result[VANILLA]) - 0.04
        for retained in result["bypass"].retained:
            assert retained <= 48.5


def _except_counting(outcome):
    """How many there are is weighed against the background, which pruning takes away."""
    kinds = zip(outcome.kinds, outcome.scores, strict=True)
    scores = [score for kind, score in kinds if kind != "count"]
    return sum(scores) / len(scores)


def test_random_tokens_cost_what_the_plan_keeps(outcomes):
    def score(variant):
        return sum(result[variant].score for result in outcomes.values()) / len(outcomes)

    assert score("random") < score("bypass") - 0.15
    assert score("random third from layer 3") < score("bypass") - 0.15


def test_layers_that_learned_where_to_look_are_the_ones_that_a_profile_finds():
    curve = Profile.load(SHIPPED).curve
    value = dict(zip(curve.layers, curve.x, strict=True))
    assert value[2] < value[3] - 0.2 < value[6] - 0.3 < value[8]
    untaught = [x for layer, x in value.items() if layer not in (3, 6, 8, 12)]
    assert max(untaught) < value[6] - 0.1


def test_bypass_brings_back_what_a_tight_budget_loses(bundled):
    """At 2/9 of the tokens the first stages lose things that the last one wants."""
    plan = swiftprof.plan(Profile.load(SHIPPED), budget=3, ratio=2 / 9, bootstrap=0)
    scores = {"bypass": 0.0, "drop": 0.0}
    for name in ("scenes-ref", "scenes-qa"):
        dataset = get_dataset(name)
        variants = {k: v for k, v in variants_of(plan).items() if k in scores}
        for variant, outcome in compare(bundled, dataset, range(100), variants).items():
            scores[variant] += outcome.score / 2
    assert scores["bypass"] > scores["drop"] + 0.02


def test_variants_have_equal_tokens_at_every_layer(outcomes):
    for result in outcomes.values():
        assert result["bypass"].retained == result["drop"].retained == result["random"].retained


def test_pairing_and_order(outcomes):
    for name in BUNDLED:
        dataset = get_dataset(name)
        ids = [dataset.sample("test", i).id for i in draw(dataset, "test", SAMPLES, 7)]
        assert all(o.ids == ids for o in outcomes[name].values())


def test_the_plain_model_is_the_same_one_before_it_was_taught(bundled):
    plain = swiftprof.load("tiny-llava-plain")
    assert plain.name == "tiny-llava-plain"
    taught, own = bundled.model.state_dict(), plain.model.state_dict()
    still = [k for k, v in own.items() if torch.equal(v, taught[k])]
    assert {k for k in own if "vision_tower" in k or "projector" in k} == set(still)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_plain_model_sees(name):
    dataset = get_dataset(name)
    plain = swiftprof.load("tiny-llava-plain")
    outcome = compare(plain, dataset, draw(dataset, "test", 50, 7), {VANILLA: None})
    assert outcome[VANILLA].score >= 0.88


def test_shipped_profile_and_plan_belong_together():
    profile, plan = Profile.load(SHIPPED), Plan.load("tiny-llava")
    assert plan.source.sha256 == profile.sha256
    assert plan.pruning_layers
    assert len(profile.samples) == 3
