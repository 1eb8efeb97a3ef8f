"""Intervals and tests: against counting by hand, and against chance."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from swiftprof.evaluation.statistics import compare_paired, estimate, holm


def test_averages_are_the_mean_over_sets_of_score_over_vanilla() -> None:
    vanilla = {"a": np.array([1.0, 1, 0, 0]), "b": np.ones(4)}
    scores = {"a": np.array([1.0, 0, 0, 0]), "b": np.array([1.0, 1, 1, 0])}
    found = estimate(scores, vanilla)
    assert found is not None
    assert found.value == pytest.approx((0.25 / 0.5 + 0.75) / 2)
    assert found.low < found.value < found.high
    assert estimate(scores, {"a": np.zeros(4), "b": np.ones(4)}) is None
    assert estimate({}, vanilla) is None


def test_what_equals_vanilla_sample_by_sample_has_no_interval() -> None:
    vanilla = {"a": np.array([1.0, 0, 1, 1, 0])}
    found = estimate(vanilla, vanilla)
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_p_is_the_share_of_all_sign_flips_that_go_as_far() -> None:
    vanilla = {"a": np.ones(8), "b": np.ones(5)}
    first = {"a": np.array([1.0, 1, 1, 0, 1, 0, 1, 1]), "b": np.array([1.0, 1, 0, 1, 1])}
    second = {"a": np.array([0.0, 1, 0, 1, 0, 0, 1, 0]), "b": np.array([1.0, 0, 0, 0, 1])}
    weighted = np.concatenate([(first[n] - second[n]) / (len(first[n]) * 2) for n in ("a", "b")])
    moved = weighted[weighted != 0]
    sums = [
        abs(sum(s * d for s, d in zip(signs, moved, strict=True)))
        for signs in product((1, -1), repeat=len(moved))
    ]
    exact = np.mean([each >= abs(moved.sum()) - 1e-12 for each in sums])
    found = compare_paired(first, second, vanilla, permutations=20_000)
    assert found is not None
    assert found.difference.value == pytest.approx(weighted.sum())
    assert found.p == pytest.approx(exact, abs=0.01)


def test_equal_answers_give_p_1_and_clear_differences_a_small_one() -> None:
    vanilla = {"a": np.ones(60)}
    same = compare_paired(vanilla, vanilla, vanilla)
    assert same is not None
    assert same.p == 1.0
    worse = compare_paired({"a": np.repeat([1.0, 0.0], 30)}, vanilla, vanilla)
    assert worse is not None
    assert worse.p < 0.001
    assert worse.difference.high < 0


def test_by_chance_p_is_below_a_twentieth_about_a_twentieth_of_the_time() -> None:
    random, below = np.random.default_rng(0), 0
    vanilla = {"a": np.ones(80)}
    for _ in range(200):
        first, second = ({"a": random.integers(0, 2, 80).astype(float)} for _ in range(2))
        found = compare_paired(first, second, vanilla, replicates=2, permutations=400)
        below += found is not None and found.p < 0.05
    assert 2 <= below <= 20


def test_pairing_narrows_the_interval() -> None:
    """Two methods that fail on the same samples differ less than their own intervals say."""
    random = np.random.default_rng(1)
    first = {"a": random.integers(0, 2, 200).astype(float)}
    second = {"a": first["a"].copy()}
    second["a"][:4] = 1 - second["a"][:4]
    vanilla = {"a": np.ones(200)}
    alone, paired = estimate(first, vanilla), compare_paired(first, second, vanilla)
    assert alone is not None
    assert paired is not None
    assert paired.difference.high - paired.difference.low < (alone.high - alone.low) / 2


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
