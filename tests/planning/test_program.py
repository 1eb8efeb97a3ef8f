"""The dynamic program against an exhaustive search that shares no code with it."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import Curve
from swiftprof.planning.program import area, solve, solve_all


def exhaustive(curve: Curve, budget: int) -> tuple[float, tuple[int, ...]]:
    """Best U over all rising sets of layers, the smallest such set by lexicographic order."""
    x = dict(zip(curve.layers, curve.x.tolist(), strict=True))
    best = (x[2] * (curve.num_layers - 2), ())
    for count in range(1, budget + 1):
        for chosen in combinations([layer for layer in curve.layers if layer > 2], count):
            heights = [x[2], *(x[layer] for layer in chosen)]
            if any(b <= a for a, b in pairwise(heights)):
                continue
            ends = [2, *chosen, curve.num_layers]
            total = sum(h * (ends[k + 1] - ends[k]) for k, h in enumerate(heights))
            if total > best[0] or (total == best[0] and chosen < best[1]):
                best = (total, chosen)
    return best


@st.composite
def curves(draw: st.DrawFn, heights: st.SearchStrategy[float] | None = None) -> Curve:
    """Curves with ties, plateaus, falls, negative values and missing layers."""
    num_layers = draw(st.integers(2, 11))
    above = draw(st.sets(st.integers(3, max(3, num_layers)), max_size=9))
    layers = (2, *sorted(layer for layer in above if layer <= num_layers))
    if draw(st.booleans()):
        layers = tuple(range(draw(st.sampled_from([1, 2])), num_layers + 1))
    values = heights if heights is not None else st.integers(-3, 6).map(float)
    x = draw(st.lists(values, min_size=len(layers), max_size=len(layers)))
    return Curve(num_layers, layers, np.array(x))


@given(curves(), st.integers(1, 5))
def test_finds_the_layers_of_the_exhaustive_search(curve: Curve, budget: int) -> None:
    # Whole numbers make areas exact, so that ties are ties and the chosen set is decided.
    total, chosen = exhaustive(curve, budget)
    found = solve(curve, budget)
    assert found.layers == chosen
    assert found.area == total


@given(curves(st.floats(-1, 1, width=32)), st.integers(1, 4))
def test_finds_the_area_of_the_exhaustive_search_on_any_heights(curve: Curve, budget: int) -> None:
    total, _ = exhaustive(curve, budget)
    assert solve(curve, budget).area == pytest.approx(total, abs=1e-9)


@given(curves(), st.integers(1, 5))
def test_records_are_enough(curve: Curve, budget: int) -> None:
    best = float("-inf")
    records = set()
    for layer, x in zip(curve.layers, curve.x, strict=True):
        if layer >= 2:
            if layer > 2 and x > best:
                records.add(layer)
            best = max(best, x)
    _, chosen = exhaustive(curve, budget)
    assert set(chosen) <= records
    usable = len(records - {curve.num_layers})
    assert len(chosen) == min(budget, usable), "one more record always gains"


def test_neighbouring_layers_may_both_be_chosen() -> None:
    curve = Curve(6, (2, 3, 4, 5, 6), np.array([0, 0.9, 1.0, 0.95, 0]))
    assert solve(curve, 2).layers == (3, 4)


def test_ties_go_to_the_earlier_layers() -> None:
    # One layer: 3 gains 2 x 4, 5 gains 4 x 2.
    curve = Curve(7, (2, 3, 5), np.array([0.0, 2.0, 4.0]))
    assert solve(curve, 1).layers == (3,)


def test_the_last_layer_is_never_chosen() -> None:
    found = solve(Curve(4, (2, 3, 4), np.array([0.0, -1.0, 9.0])), 3)
    assert found.layers == ()
    assert found.warning is not None


def test_the_papers_layers_come_from_a_curve_like_the_papers() -> None:
    x = np.full(31, 0.55)
    x[[1, 9, 13]] = 0.62, 0.8, 0.97  # layers 3, 11, 15
    x[[5, 6, 20]] = 0.58, 0.6, 0.96
    found = solve(Curve(32, tuple(range(2, 33)), x), 3)
    assert found.layers == (3, 11, 15)
    assert found.warning is None
    by_hand = 0.55 * 1 + 0.62 * 8 + 0.8 * 4 + 0.97 * 17
    assert found.area == pytest.approx(by_hand)
    assert found.performance == pytest.approx(by_hand / 30)


def test_fewer_records_than_asked_for_give_a_shorter_answer_and_say_so() -> None:
    found = solve(Curve(9, (2, 4, 6), np.array([0.1, 0.5, 0.4])), 3)
    assert found.layers == (4,)
    assert found.warning is not None
    assert "only 1 of the 3" in found.warning
    assert "Keep this plan, or look beyond the curve with swiftprof plan --search" in found.warning


@given(curves(), st.floats(0.1, 10), st.floats(-5, 5))
def test_scale_and_offset_of_the_scores_do_not_matter(
    curve: Curve, scale: float, offset: float
) -> None:
    moved = Curve(curve.num_layers, curve.layers, np.round(curve.x * 8) * scale + offset)
    plain = Curve(curve.num_layers, curve.layers, np.round(curve.x * 8))
    assert solve(moved, 3).layers == solve(plain, 3).layers


@given(st.integers(0, 2**32), st.integers(3, 25), st.integers(1, 6))
def test_a_batch_gives_every_curve_what_it_gets_alone_for_every_budget(
    seed: int, num_layers: int, budget: int
) -> None:
    random = np.random.default_rng(seed)
    layers = tuple(range(2, num_layers + 1))
    x = random.integers(0, 6, (7, len(layers))).astype(float)
    for row, found in zip(x, solve_all(layers, num_layers, x, budget), strict=True):
        for m in range(1, budget + 1):
            alone = solve(Curve(num_layers, layers, row), m)
            assert found.area(m) == alone.area
            assert found.layers(m) == alone.layers


@given(curves(), st.integers(1, 4))
def test_the_area_of_the_chosen_layers_is_the_area_reported(curve: Curve, budget: int) -> None:
    found = solve(curve, budget)
    measured = area(curve.layers, curve.num_layers, curve.x, found.layers)
    assert float(measured) == pytest.approx(found.area)


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(SwiftprofError, match="budget 0"):
        solve(Curve(4, (2, 3), np.array([0.0, 1.0])), 0)
