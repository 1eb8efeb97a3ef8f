"""Spreading a selection, against its definition read slowly: lists, loops, one row at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from swiftprof.core.select import rank
from swiftprof.core.spread import best_count, spread_out


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
        left = [c for c in columns if c not in chosen]
        chosen.append(min(left, key=lambda c: max(similar(c, other) for other in chosen)))
    return chosen


def selection(case: int, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(case)
    hidden = torch.randn(rows, columns, 8, generator=chance)
    scores = torch.rand(rows, columns, generator=chance)
    candidates = torch.rand(rows, columns, generator=chance) < 0.8
    candidates[:, :3] = True
    return hidden, scores, candidates


@settings(max_examples=60, deadline=None)
@given(
    case=st.integers(0, 10_000),
    columns=st.integers(3, 40),
    share=st.sampled_from([0.0, 0.1, 0.35, 0.5, 1.0]),
    data=st.data(),
)
def test_it_is_the_definition(case: int, columns: int, share: float, data: st.DataObject) -> None:
    hidden, scores, candidates = selection(case, 3, columns)
    keep = [data.draw(st.integers(1, int(c.sum()))) for c in candidates]
    chosen = spread_out(
        hidden,
        rank(scores, candidates),
        candidates,
        torch.tensor(keep)[:, None],
        share,
        max(keep),
    )
    for row, number in enumerate(keep):
        expected = slowly(hidden[row], scores[row], candidates[row], number, share)
        assert chosen[row].nonzero()[:, 0].tolist() == sorted(expected)
        assert best_count(number, share) == max(1, int(number * (1 - share) + 0.5))


def test_equal_tokens_go_by_column_and_none_is_chosen_twice() -> None:
    hidden = torch.ones(1, 6, 4)
    everyone = torch.ones(1, 6, dtype=torch.bool)
    order = torch.tensor([[5, 4, 3, 2, 1, 0]])
    chosen = spread_out(hidden, order, everyone, torch.tensor([[4]]), 0.5, 4)
    assert chosen.tolist() == [[True, True, False, False, True, True]]


def test_a_row_does_not_depend_on_the_others() -> None:
    hidden, scores, candidates = selection(7, 2, 30)
    order, keep = rank(scores, candidates), torch.tensor([[4], [15]])
    both = spread_out(hidden, order, candidates, keep, 0.5, 15)
    for row in (0, 1):
        here = slice(row, row + 1)
        alone = spread_out(
            hidden[here], order[here], candidates[here], keep[here], 0.5, int(keep[row])
        )
        assert torch.equal(both[here], alone)


def test_a_row_without_candidates_chooses_none() -> None:
    hidden, scores, candidates = selection(3, 2, 12)
    candidates[1] = False
    keep = torch.tensor([[3], [0]])
    chosen = spread_out(hidden, rank(scores, candidates), candidates, keep, 0.5, 3)
    assert chosen.sum(1).tolist() == [3, 0]


@pytest.mark.parametrize("columns", [300])
def test_many_kept_tokens_are_compared_in_parts(columns: int) -> None:
    hidden, scores, candidates = selection(1, 1, columns)
    keep = int(candidates.sum()) - 5
    chosen = spread_out(
        hidden, rank(scores, candidates), candidates, torch.tensor([[keep]]), 0.05, keep
    )
    expected = slowly(hidden[0], scores[0], candidates[0], keep, 0.05)
    assert chosen[0].nonzero()[:, 0].tolist() == sorted(expected)
