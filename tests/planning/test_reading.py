"""The objective Q and its search, against loops over layers and over all choices."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftprof.errors import SwiftprofError
from swiftprof.planning.api import plan as make_plan
from swiftprof.planning.budget import feasible_sets, fill_budget
from swiftprof.planning.fill import Cost, Setting
from swiftprof.planning.plan_file import ModelInfo, Stage
from swiftprof.planning.reading import RATIOS, Reading, search
from tests.planning.test_api import FakeProfile

DEPTH, N_VISUAL = 10, 80
COST = Cost(ModelInfo(name="m", num_layers=DEPTH, visual_tokens=N_VISUAL), None, 10.0)
SETTING = Setting.of("swiftvlm")


@st.composite
def readings(draw: Any) -> Reading:
    left = {layer: draw(st.floats(0, 1.1)) for layer in range(2, DEPTH)}
    shares = (0.1, 0.3)
    capability = {
        layer: (draw(st.floats(0, 1)), draw(st.floats(0, 1))) for layer in range(2, DEPTH + 1)
    }
    return Reading(DEPTH, left, shares, capability)


@given(readings())
def test_what_has_been_read_is_never_unread(reading: Reading) -> None:
    read = reading.read
    assert read[DEPTH] == 1
    assert (np.diff(read) >= 0).all()
    for layer, left in reading.left.items():
        later = [value for other, value in reading.left.items() if other >= layer]
        assert read[layer] == min([1, *later])
        assert read[layer] <= left


@given(readings(), st.sampled_from([(3, 6, 8), (4, 7), (5,)]))
def test_q_is_the_sum_over_layers_of_what_each_reads_and_sees(
    reading: Reading, layers: tuple[int, ...]
) -> None:
    stages = [Stage(layer=each, keep=0.5 / (n + 1)) for n, each in enumerate(layers)]
    total = float(reading.read[0])
    for layer in range(1, DEPTH + 1):
        sees = 1.0  # the first stage cuts after its layer, the others before theirs
        for number, stage in enumerate(stages):
            if layer > stage.layer or (number > 0 and layer == stage.layer):
                known = [reading.left[2], *reading.capability[stage.layer], 1]
                known = [max(known[: n + 1]) for n in range(4)]  # more is never worse
                sees = float(np.interp(stage.keep, [0, 0.1, 0.3, 1], known))
        total += (reading.read[layer] - reading.read[layer - 1]) * sees
    assert reading.expected(stages) == pytest.approx(total)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_as_much_as_trying_everything(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rising = np.sort(generator.random(DEPTH - 2))
    left = {layer: float(rising[layer - 2]) for layer in range(2, DEPTH)}
    capability = {}
    for layer in range(2, DEPTH + 1):
        low, high = np.sort(generator.random(2))
        capability[layer] = (float(low), float(high))
    reading = Reading(DEPTH, left, (0.1, 0.3), capability)
    tokens = 36.0
    best = 0.0
    for m in (1, 2):
        for layers in feasible_sets(DEPTH, m, N_VISUAL, tokens, SETTING.method):
            for tail in combinations_with_replacement(RATIOS, m - 1):
                schedule = "/".join(f"{ratio:g}" for ratio in (1.0, *tail))
                try:
                    stages = replace(SETTING, schedule=schedule).stages(layers, COST, tokens)
                except SwiftprofError:
                    continue
                best = max(best, reading.expected(stages))
    found = search(reading, 2, tokens, COST, SETTING)
    assert found.expected <= best
    assert found.expected == pytest.approx(best, abs=0.003)  # whole tokens after fractions


def test_where_all_has_been_read_it_prunes_to_next_to_nothing() -> None:
    left = {layer: 0.1 if layer < 6 else 1.0 for layer in range(2, DEPTH)}
    capability = dict.fromkeys(range(2, DEPTH + 1), (0.5, 0.9))
    reading = Reading(DEPTH, left, (0.1, 0.3), capability)
    found = search(reading, 2, 40.0, COST, SETTING)
    stages = replace(SETTING, schedule=found.schedule).stages(found.layers, COST, 40.0)
    assert 6 <= found.layers[-1] <= 7
    assert stages[-1].keep < 0.1


def test_a_named_schedule_and_named_layers_are_kept() -> None:
    left = {layer: layer / DEPTH for layer in range(2, DEPTH)}
    reading = Reading(DEPTH, left, (0.2,), dict.fromkeys(range(2, DEPTH + 1), (0.5,)))
    fixed = search(reading, 2, 40.0, COST, replace(SETTING, schedule="gentle"))
    assert fixed.schedule == "gentle"
    assert search(reading, 2, 40.0, COST, SETTING, (4, 7)).layers == (4, 7)


def test_plan_takes_a_reading_curve_and_says_so() -> None:
    left = {layer: min(1.0, layer / 9) for layer in range(2, 12)}
    capability = dict.fromkeys(range(2, 13), (0.4, 0.8))
    reading = Reading(12, left, (0.1, 0.4), capability)
    made = make_plan(FakeProfile(), 2, ratio=0.4, reading=reading)
    assert abs(sum(made.tokens_per_layer(144)) / 12 - 0.4 * 144) <= 0.5
    assert "expected score Q" in made.notes[-1]
    assert made.stability is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"budget": 4}, "budget 4"),
        ({"flops": 0.001}, "flops"),
        ({"method": "fastv"}, "reading"),
        ({"layers": "equal"}, "layers equal"),
        ({"ratio": 0.05}, "retain"),
    ],
)
def test_what_it_cannot_do_is_refused(options: dict[str, Any], named: str) -> None:
    reading = Reading(12, {2: 0.2, 3: 0.4}, (0.2,), dict.fromkeys(range(2, 13), (0.5,)))
    with pytest.raises(SwiftprofError, match=named):
        make_plan(FakeProfile(), reading=reading, **options)
    other = Reading(11, {2: 0.2}, (0.2,), {2: (0.5,)})
    with pytest.raises(SwiftprofError, match="11 layers"):
        make_plan(FakeProfile(), reading=other)


def test_relative_counts_are_a_schedule() -> None:
    stages = fill_budget((3, 6, 8), DEPTH, N_VISUAL, 40.0, schedule="1/0.5/0.2", merge_share=0.0)
    kept = [stage.keep * N_VISUAL for stage in stages]
    assert kept[1] == pytest.approx(kept[0] * 0.5, abs=3)
    assert kept[2] == pytest.approx(kept[0] * 0.2, abs=3)


@pytest.mark.parametrize("text", ["1/2", "0.5/0.2", "1/0", "1/x", "1/0.2/0.5", "/"])
def test_relative_counts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SwiftprofError, match="relative counts"):
        fill_budget((3, 6), DEPTH, N_VISUAL, 40.0, schedule=text)
    with pytest.raises(SwiftprofError, match="3 relative counts"):
        fill_budget((3, 6), DEPTH, N_VISUAL, 40.0, schedule="1/0.5/0.2")
