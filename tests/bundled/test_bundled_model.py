"""The bundled model sees, its layers differ, and its shipped plan keeps its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftprof.data.registry import BUNDLED, draw, get_dataset
from swiftprof.evaluation.compare import VANILLA, compare
from swiftprof.evaluation.variants import variants_of
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.profiling.store import Profile

SHIPPED = Path(__file__).parents[2] / "profiles" / "tiny-llava"
SAMPLES = 100


@pytest.fixture(scope="module")
def outcomes(bundled):
    plan = Plan.load(SHIPPED / "plan.json")
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
        assert result["bypass"].score >= result[VANILLA].score - 0.06
        for retained in result["bypass"].retained:
            assert retained <= 48.5


def test_random_tokens_cost_what_the_plan_keeps(outcomes):
    """Where a thing beside another has to be found, it matters which tokens stay."""

    def score(variant):
        return sum(outcomes[name][variant].score for name in ("scenes-ref", "scenes-qa")) / 2

    assert score("random") < score("bypass") - 0.03
    assert score("random third from layer 3") < score("bypass") - 0.03


def test_variants_have_equal_tokens_at_every_layer(outcomes):
    for result in outcomes.values():
        assert result["bypass"].retained == result["drop"].retained == result["random"].retained


def test_pairing_and_order(outcomes):
    for name in BUNDLED:
        dataset = get_dataset(name)
        ids = [dataset.sample("test", i).id for i in draw(dataset, "test", SAMPLES, 7)]
        assert all(o.ids == ids for o in outcomes[name].values())


def test_shipped_profile_and_plan_belong_together():
    profile, plan = Profile.load(SHIPPED), Plan.load(SHIPPED / "plan.json")
    assert plan.source.sha256 == profile.sha256
    assert plan.pruning_layers
    assert len(profile.samples) == 3
