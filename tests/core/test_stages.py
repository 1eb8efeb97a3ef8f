"""The numbering rule: where stages cut, who judges them, what each layer then sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftprof.core.stages import (
    check_layers,
    check_stages,
    cut_layers,
    judging_layers,
    stage_lengths,
    tokens_per_layer,
)
from swiftprof.errors import SwiftprofError
from swiftprof.planning.plan_file import Stage

FIRST = st.sampled_from(["after", "before"])


def of(*layers: int) -> list[Stage]:
    return [Stage(layer=layer, keep=0.5 / (j + 1)) for j, layer in enumerate(layers)]


def test_the_first_stage_cuts_after_its_layer_and_later_ones_before_theirs() -> None:
    assert cut_layers(of(3, 11, 15)) == [3, 10, 14]
    assert cut_layers(of(3, 11, 15), "before") == [2, 10, 14]
    assert cut_layers(of(3, 4, 5)) == [3, 3, 4]  # two at one place


def test_who_judges() -> None:
    assert judging_layers(of(3, 11)) == [2, 10]
    assert judging_layers(of(3, 11), "own", "before") == [2, 10]
    assert judging_layers(of(3, 11), "before") == [2, 9]
    assert judging_layers(of(3, 11), "next") == [3, 10]


@given(st.sets(st.integers(1, 12), min_size=1), FIRST)
def test_every_layer_sees_what_the_last_cut_before_it_left(layers: set[int], first: str) -> None:
    stages = of(*sorted(layers))
    counts = tokens_per_layer(stages, 12, 60, first)
    for layer in range(1, 13):
        left = 60.0
        for number, stage in enumerate(stages):
            after = number == 0 and first == "after"
            if layer > stage.layer or (layer == stage.layer and not after):
                left = max(1, int(stage.keep * 60 + 0.5))
        assert counts[layer - 1] == left
    lengths = stage_lengths(sorted(layers), 12, first)
    assert sum(lengths) == 12
    assert counts[: lengths[0]] == [60.0] * lengths[0]


def test_impossible_layers_are_named() -> None:
    with pytest.raises(ValueError, match=r"stages\[1\].layer: 13 is outside 1..12"):
        check_layers([3, 13], 12)
    with pytest.raises(ValueError, match=r"stages\[1\].layer: 3 comes after 3"):
        check_layers([3, 3], 12)
    with pytest.raises(SwiftprofError, match=r"plan: stages\[0\].layer: 0 is outside 1..12"):
        check_stages(of(0), 12)
    check_layers([0], 12, earliest=0)
