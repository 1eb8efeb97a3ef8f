"""Ranking, picking and laying out tokens."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftprof.core.layout import compact, gather_rope, scatter_tokens
from swiftprof.core.scores import attention_row
from swiftprof.core.select import evenly_spaced, hashed_scores, rank, top


def test_rank_breaks_ties_towards_the_lower_column() -> None:
    scores = torch.tensor([[1.0, 3.0, 3.0, 9.0, 3.0]])
    candidates = torch.tensor([[True, True, True, False, True]])
    assert rank(scores, candidates).tolist() == [[1, 2, 4, 0, 3]]


def test_rank_puts_a_candidate_at_minus_infinity_before_any_other_column() -> None:
    scores = torch.tensor([[0.5, float("-inf"), 0.7]])
    candidates = torch.tensor([[False, True, False]])
    assert rank(scores, candidates)[0, 0] == 1


def test_top_takes_a_different_count_from_each_row() -> None:
    order = torch.tensor([[2, 0, 1], [1, 2, 0]])
    taken = top(order, torch.tensor([[1], [2]]))
    assert taken.tolist() == [[False, False, True], [False, True, True]]


def test_attention_row_equals_a_softmax_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 6, 8, generator=generator)
    keys = torch.randn(2, 3, 5, 8, generator=generator)
    visible = torch.tensor([[False, True, True, True, True], [True] * 5])
    row = attention_row(query, keys, visible, 0.3)
    for b in range(2):
        heads = []
        for h in range(6):
            seen = visible[b].nonzero().flatten().tolist()
            weights = torch.stack([(query[b, h] @ keys[b, h // 2, s] * 0.3).exp() for s in seen])
            full = torch.zeros(5)
            full[seen] = weights / weights.sum()
            heads.append(full)
        assert torch.allclose(row[b], torch.stack(heads).mean(0), atol=1e-6)
    assert row[0, 0] == 0


def test_attention_row_in_half_precision_is_computed_in_single() -> None:
    query, keys = torch.randn(1, 4, 8), torch.randn(1, 2, 50, 8)
    visible = torch.ones(1, 50, dtype=torch.bool)
    exact = attention_row(query.bfloat16().float(), keys.bfloat16().float(), visible, 1.0)
    half = attention_row(query.bfloat16(), keys.bfloat16(), visible, 1.0)
    assert half.dtype == torch.float32
    assert torch.equal(half, exact)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 5))
@settings(max_examples=50)
def test_compact_keeps_order_and_aligns_right(keep: list[bool], extra: int) -> None:
    kept = [i for i, flag in enumerate(keep) if flag]
    length = min(len(keep), len(kept) + extra)
    columns, valid = compact(torch.tensor([keep]), length)
    assert columns.shape == (1, length)
    assert columns[valid].tolist() == kept
    assert valid[0].tolist() == [False] * (length - len(kept)) + [True] * len(kept)


def test_scatter_undoes_compact() -> None:
    tokens = torch.randn(2, 7, 3)
    keep = torch.tensor([[0, 1, 1, 0, 1, 0, 0], [1, 1, 0, 1, 1, 1, 0]]).bool()
    columns, valid = compact(keep, 5)
    picked = tokens.gather(1, columns[..., None].expand(-1, -1, 3))
    back = scatter_tokens(torch.zeros_like(tokens), picked, columns, valid)
    assert torch.equal(back, tokens * keep[..., None])


def test_gather_rope_keeps_leading_dimensions() -> None:
    table = torch.arange(6.0)[None, :, None].expand(1, 6, 2)
    columns = torch.tensor([[0, 4], [3, 5]])
    assert gather_rope(table, columns)[..., 0].tolist() == [[0, 4], [3, 5]]
    sections = torch.stack([table + 10 * s for s in range(3)])  # (3, 1, n, d), as in M-RoPE
    assert gather_rope(sections, columns).shape == (3, 2, 2, 2)
    assert gather_rope(sections, columns)[2, 1, 0, 0] == 23


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=100)
def test_evenly_spaced_picks_the_exact_count_with_even_gaps(total: int, count: int) -> None:
    count = min(count, total)
    picked = evenly_spaced(torch.ones(1, total, dtype=torch.bool), torch.tensor([[count]]))
    places = picked[0].nonzero().flatten()
    assert len(places) == count
    if count > 1:
        gaps = places.diff()
        assert gaps.max() - gaps.min() <= 1


def test_evenly_spaced_counts_candidates_not_columns() -> None:
    candidates = torch.zeros(1, 20, dtype=torch.bool)
    candidates[0, 5:9] = True
    picked = evenly_spaced(candidates, torch.tensor([[2]]))
    assert picked.sum() == 2
    assert not (picked & ~candidates).any()


def test_hashed_scores_depend_on_index_and_seed_alone() -> None:
    index = torch.arange(4096)
    scores = hashed_scores(index, 7)
    assert torch.equal(hashed_scores(index[100:200], 7), scores[100:200])
    assert not torch.equal(hashed_scores(index, 8), scores)
    assert 0 <= scores.min() <= scores.max() < 1
    assert abs(scores.mean() - 0.5) < 0.03
    assert abs(scores.var() - 1 / 12) < 0.01
    order, other = scores.argsort().double(), hashed_scores(index, 8).argsort().double()
    assert abs(torch.corrcoef(torch.stack([order, index.double()]))[0, 1]) < 0.06
    assert abs(torch.corrcoef(torch.stack([order, other]))[0, 1]) < 0.06
