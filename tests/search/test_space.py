"""The space of a search: every candidate costs the same, and every step stays inside."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftprof.core.counts import kept_count, merged_count
from swiftprof.core.stages import cut_layers, tokens_per_layer
from swiftprof.costs.flops import DecoderShape, plan_flops, vanilla_flops
from swiftprof.errors import SwiftprofError
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan
from swiftprof.planning.preset import PRESETS
from swiftprof.search.limit import Limit
from swiftprof.search.space import Candidate, fill, neighbour, starts

SHAPE = DecoderShape(24, 128, 384, 4, 4, 32)
PAPER = Candidate((3, 6, 8), (1.0, 0.4, 0.2), first="after")


def flops(stages, method):
    return plan_flops(SHAPE, stages, 144, 16, method=method)


def tokens(stages, method):
    return sum(tokens_per_layer(stages, 24, 144, method.first)) / 24


@given(st.integers(0, 10_000), st.sampled_from([flops, tokens]), st.floats(0.25, 0.7))
def test_every_candidate_is_filled_to_the_same_price(seed, price, share):
    rng, candidate = random.Random(seed), PAPER
    for _ in range(rng.randrange(12)):
        candidate = neighbour(candidate, 24, rng)
    most = share * (vanilla_flops(SHAPE, 144, 16) if price is flops else 144)
    stages = fill(candidate, 144, price, most)
    if stages is None:
        assert candidate.layers[0] > 4 or share < 0.4  # all tokens before the first cut
        return
    cost = price(stages, candidate.method)
    assert cost <= most
    totals = [(k := kept_count(s.keep, 144)) + merged_count(s.merge, 144, k) for s in stages]
    assert all(b <= a for a, b in pairwise(totals))
    if (
        totals[0] < 143
    ):  # a whole token at the first stage and wherever it must go would be too dear
        assert cost > 0.97 * most
    plan = Plan(model=ModelInfo(name="m", num_layers=24), stages=stages, options=candidate.options)
    assert plan.first == candidate.first


def test_the_papers_plan_is_found_again_at_its_own_price():
    stages = fill(PAPER, 144, tokens, 48.0)
    assert stages is not None
    plan = Plan(model=ModelInfo(name="m", num_layers=24), stages=stages)
    again = fill(Candidate.of(plan, 144), 144, flops, flops(stages, PAPER.method))
    assert again == stages


@given(st.integers(0, 10_000), st.integers(6, 40))
def test_steps_stay_inside_and_follow_the_seed(seed, depth):
    paths = []
    for _ in range(2):
        rng, candidate, path = random.Random(seed), Candidate((3, 5), (1.0, 0.5)), []
        for _ in range(15):
            candidate = neighbour(candidate, depth, rng)
            path.append(candidate)
            assert list(candidate.layers) == sorted(set(candidate.layers))
            assert len(candidate.falls) == len(candidate.layers)
            assert candidate.falls[0] == 1.0
            assert all(0 < b <= a for a, b in pairwise(candidate.falls))
            assert 0 <= candidate.spread <= 1
            assert candidate.layers[-1] < depth
            stages = fill(candidate, 60, lambda s, m: 0.0, 1.0)
            assert stages is not None
            assert cut_layers(stages, candidate.first)[0] >= 1
        paths.append(path)
    assert paths[0] == paths[1]


@pytest.mark.parametrize("depth", [8, 12, 24, 28, 32, 80])
def test_a_search_begins_with_plans_that_fit_every_depth(depth):
    layers = PRESETS["often"].layers(depth)
    preset = Candidate(layers, tuple(0.8**j for j in range(len(layers))), spread=0.35)
    paper = PAPER if depth == 24 else Candidate((3, 5), (1.0, 0.5))
    begin = starts(paper, preset, {}, depth)
    assert begin[:2] == [paper, preset]
    assert len(begin) == len(set(begin)) >= 6
    assert all(each.layers[-1] < depth for each in begin)
    assert set(begin) > set(starts(paper, None, {}, depth))  # a price that the preset cannot meet


def test_limits_are_times_or_numbers():
    assert Limit.parse("10m").seconds == 600
    assert Limit.parse("1.5h").seconds == 5400
    assert Limit.parse("200").candidates == 200
    assert Limit.parse("200").share(1e9, 50) == 0.25
    for text in ("", "0", "10 days", "-3", "0m"):
        with pytest.raises(SwiftprofError, match="search"):
            Limit.parse(text)
