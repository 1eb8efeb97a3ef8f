"""Stages that fill a token budget."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from swiftprof.core.counts import kept_count, merged_count
from swiftprof.core.stages import tokens_per_layer
from swiftprof.errors import SwiftprofError
from swiftprof.methods import REGISTRY, create
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.budget import (
    MERGE_SHARE,
    SCHEDULES,
    fill_budget,
    smallest_retain,
    stage_lengths,
)
from swiftprof.planning.plan_file import Plan, Stage


@dataclass(frozen=True)
class Case:
    """A possible budget."""

    layers: tuple[int, ...]
    num_layers: int
    n_visual: int
    retain: float


@st.composite
def cases(draw: st.DrawFn) -> Case:
    num_layers = draw(st.integers(2, 60))
    layers = sorted(draw(st.sets(st.integers(1, num_layers - 1), min_size=1, max_size=5)))
    assume(len(layers) < 2 or layers[1] >= layers[0] + 2)
    n_visual = draw(st.integers(2, 3000))
    least = smallest_retain(layers, num_layers, n_visual)
    share = draw(st.floats(0, 1, exclude_max=True))
    retain = least + share * (n_visual - least)
    assume(least <= retain < n_visual)
    return Case(tuple(layers), num_layers, n_visual, retain)


def average(stages: tuple[Stage, ...], case: Case) -> float:
    counts = tokens_per_layer(stages, case.num_layers, case.n_visual)
    return sum(counts) / case.num_layers


@given(cases(), st.sampled_from(sorted(SCHEDULES)), st.sampled_from([0.0, MERGE_SHARE]))
def test_the_budget_is_met_and_never_exceeded_by_more_than_half_a_token(
    case: Case, schedule: str, merge: float
) -> None:
    stages = fill_budget(
        case.layers,
        case.num_layers,
        case.n_visual,
        case.retain,
        merge_share=merge,
        schedule=schedule,
    )
    assert -0.5 <= average(stages, case) - case.retain <= 0.5


@given(cases(), st.sampled_from(sorted(SCHEDULES)))
def test_stages_make_a_valid_plan_whose_counts_never_grow(case: Case, schedule: str) -> None:
    stages = fill_budget(
        case.layers, case.num_layers, case.n_visual, case.retain, schedule=schedule
    )
    plan = Plan(model=ModelInfo(name="m", num_layers=case.num_layers), stages=stages)
    counts = plan.tokens_per_layer(case.n_visual)
    assert all(after <= before for before, after in pairwise(counts))
    assert plan.pruning_layers == case.layers
    for stage in stages:
        kept = kept_count(stage.keep, case.n_visual)
        merged = merged_count(stage.merge, case.n_visual, kept)
        assert kept >= 1
        assert merged <= kept, "merged tokens take at most half of a stage"
        assert merged <= MERGE_SHARE * case.n_visual + 0.5
    assert stages[-1].merge == 0


@given(cases())
def test_a_larger_budget_gives_no_layer_fewer_tokens_by_more_than_the_last_adjustment(
    case: Case,
) -> None:
    more = min(case.retain * 1.1 + 1, case.n_visual - 1e-6)
    assume(more > case.retain)
    small = fill_budget(case.layers, case.num_layers, case.n_visual, case.retain)
    large = fill_budget(case.layers, case.num_layers, case.n_visual, more)
    pairs = zip(
        tokens_per_layer(small, case.num_layers, case.n_visual),
        tokens_per_layer(large, case.num_layers, case.n_visual),
        strict=True,
    )
    assert all(b >= a - 7 for a, b in pairs)


def test_the_papers_setting_retains_192_of_576_with_a_constant_factor() -> None:
    stages = fill_budget([3, 11, 15], 32, 576, 192)
    counts = tokens_per_layer(stages, 32, 576)
    assert sum(counts) / 32 == 192
    chain = [576, counts[3], counts[10], counts[14]]
    factors = [after / before for before, after in pairwise(chain)]
    assert max(factors) - min(factors) < 0.03
    assert [merged_count(s.merge, 576, kept_count(s.keep, 576)) for s in stages] == [29, 29, 0]


def test_the_uniform_schedule_gives_every_stage_the_same() -> None:
    stages = fill_budget([3, 11, 15], 32, 576, 192, schedule="uniform", merge_share=0)
    counts = tokens_per_layer(stages, 32, 576)[3:]
    assert max(counts) - min(counts) <= 6


def test_stretches_follow_the_places_where_stages_take_effect() -> None:
    assert stage_lengths([3, 11, 15], 32) == [3, 7, 4, 18]
    assert stage_lengths([2], 32) == [2, 30]
    assert stage_lengths([0], 32) == [0, 32]


@pytest.mark.parametrize("layers", [(3, 11, 15), (8, 16, 24), (2,), (1, 3)])
def test_the_smallest_budget_that_an_error_names_is_possible_and_one_less_is_not(
    layers: tuple[int, ...],
) -> None:
    with pytest.raises(SwiftprofError, match="smallest possible is") as caught:
        fill_budget(layers, 32, 576, 1)
    named = int(str(caught.value).split("smallest possible is ")[1].split()[0])
    fill_budget(layers, 32, 576, named)
    with pytest.raises(SwiftprofError, match="retain"):
        fill_budget(layers, 32, 576, named - 1)


def test_budgets_that_prune_nothing_and_unknown_schedules_are_refused() -> None:
    with pytest.raises(SwiftprofError, match="from 55 to 575"):
        fill_budget([3, 11, 15], 32, 576, 576)
    with pytest.raises(SwiftprofError, match="did you mean 'geometric'"):
        fill_budget([3, 11, 15], 32, 576, 192, schedule="geometrical")


@given(cases(), st.sampled_from(sorted(set(REGISTRY) - {"vanilla"})))
def test_every_methods_plan_meets_the_budget_it_says_is_possible(case: Case, name: str) -> None:
    method = create(name)
    layers = case.layers[:3] if name == "sparsevlm" else case.layers
    if name == "visionzip":
        layers = (0,)
    least = smallest_retain(layers, case.num_layers, case.n_visual, method)
    assume(least <= case.retain < case.n_visual)
    stages = fill_budget(layers, case.num_layers, case.n_visual, case.retain, method=method)
    counts = tokens_per_layer(stages, case.num_layers, case.n_visual)
    assert all(after <= before for before, after in pairwise(counts))
    # One stage has one number to turn: the average moves in steps of a token in its layers.
    step = 0.5 if name not in ("sparsevlm", "feather") else 1.0
    assert abs(sum(counts) / case.num_layers - case.retain) <= step
