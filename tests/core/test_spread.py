"""Spreading a selection, against its definition read slowly: lists, loops, one row at a time."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from swiftprof.core.counts import best_count
from swiftprof.core.select import rank
from swiftprof.core.spread import spread_out


def slowly(
    hidden: Tensor, scores: Tensor, candidates: Tensor, keep: int, share: float
) -> list[int]:
    """The chosen columns of one row, in the order in which they are chosen."""
    columns = [c for c in range(len(scores)) if candidates[c]]
    ranked = sorted(columns, key=lambda c: (-scores[c].item(), c))
    chosen = ranked[: max(1, int(keep * (1 - share) + 0.5))][:keep]
    length = hidden.double().norm(dim=-1)

    def similar(a: int, b: int) -> float:
        return (hidden[a].double() @ hidden[b].double() / (length[a] * length[b])).item()

    while len(chosen) < keep:
        left = [c for c in ranked if c not in chosen]  # ties go to the better score
        chosen.append(min(left, key=lambda c: max(similar(c, other) for other in chosen)))
    return chosen


def selection(case: int, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(case)
    hidden = torch.randn(rows, columns, 8, generator=chance)
    scores = torch.rand(rows, columns, generator=chance)
    candidates = torch.rand(rows, columns, generator=chance) < 0.8
    candidates[:, :3] = True
    return hidden, scores, candidates


def together(
    hidden: Tensor, scores: Tensor, candidates: Tensor, keep: list[int], share: float
) -> list[list[int]]:
    """The chosen columns of each row, ascending."""
    there = candidates.sum(1).tolist()
    order, wanted = rank(scores, candidates), torch.tensor(keep)[:, None]
    chosen = spread_out(hidden, order, candidates, wanted, share, keep, there)
    return [row.nonzero()[:, 0].tolist() for row in chosen]


@settings(max_examples=60)
@given(
    case=st.integers(0, 10_000),
    columns=st.integers(3, 40),
    share=st.sampled_from([0.0, 0.1, 0.35, 0.5, 1.0]),
    data=st.data(),
)
def test_it_is_the_definition(case: int, columns: int, share: float, data: st.DataObject) -> None:
    hidden, scores, candidates = selection(case, 3, columns)
    keep = [data.draw(st.integers(1, int(c.sum()))) for c in candidates]
    chosen = together(hidden, scores, candidates, keep, share)
    for row, number in enumerate(keep):
        expected = slowly(hidden[row], scores[row], candidates[row], number, share)
        assert chosen[row] == sorted(expected)
        assert best_count(number, share) == max(1, int(number * (1 - share) + 0.5))


def test_equal_tokens_go_by_score_and_none_is_chosen_twice() -> None:
    everyone = torch.ones(1, 6, dtype=torch.bool)
    scores = torch.tensor([[0.1, 0.2, 0.4, 0.3, 0.5, 0.6]])
    assert together(torch.ones(1, 6, 4), scores, everyone, [4], 0.5) == [[2, 3, 4, 5]]


def test_a_row_does_not_depend_on_the_others() -> None:
    hidden, scores, candidates = selection(7, 2, 30)
    both = together(hidden, scores, candidates, [4, 15], 0.5)
    for row, keep in enumerate((4, 15)):
        here = slice(row, row + 1)
        assert together(hidden[here], scores[here], candidates[here], [keep], 0.5) == [both[row]]


def test_a_row_without_candidates_chooses_none() -> None:
    hidden, scores, candidates = selection(3, 2, 12)
    candidates[1] = False
    chosen = together(hidden, scores, candidates, [3, 0], 0.5)
    assert [len(row) for row in chosen] == [3, 0]


def test_many_kept_tokens_are_compared_in_parts() -> None:
    hidden, scores, candidates = selection(1, 1, 350)
    keep = int(candidates.sum()) - 5
    assert keep > 257
    expected = slowly(hidden[0], scores[0], candidates[0], keep, 0.03)
    assert together(hidden, scores, candidates, [keep], 0.03) == [sorted(expected)]
