"""Fractions become whole numbers of tokens, the same everywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swiftprof.core.counts import kept_count, merged_count, round_half_up

shares = st.floats(0, 1, allow_nan=False)
tokens = st.integers(1, 5000)


def test_halves_round_up_and_not_to_even() -> None:
    assert [round_half_up(value) for value in (0.5, 1.5, 2.5, 2.4999)] == [1, 2, 3, 2]


@given(shares, tokens)
def test_at_least_one_token_is_kept_and_at_most_all(share: float, n: int) -> None:
    assert 1 <= kept_count(share, n) <= n


@given(shares, shares, tokens)
def test_kept_and_merged_tokens_never_exceed_the_prompt(keep: float, merge: float, n: int) -> None:
    kept = kept_count(keep, n)
    assert 0 <= merged_count(merge, n, kept) <= n - kept


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_a_count_written_as_a_fraction_comes_back(pair: tuple[int, int]) -> None:
    count, n = pair
    assert kept_count(count / n, n) == count
    assert merged_count(count / n, n, 0) == count


def test_a_prompt_without_visual_tokens_keeps_none() -> None:
    assert kept_count(0.5, 0) == 0
    assert merged_count(0.5, 0, 0) == 0
