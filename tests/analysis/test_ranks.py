"""Rank variation, against a plain reading of its definition."""

from __future__ import annotations

from typing import Any

import torch

from swiftprof.analysis.ranks import Ranks, blocks, buried_share


def dumb_buried(scores: list[list[float]], low: float, high: float) -> list[list[float]]:
    n = len(scores[0])
    order = [sorted(range(n), key=lambda t: (-layer[t], t)) for layer in scores]
    best, worst = max(1, int(high * n + 0.5)), max(1, int(low * n + 0.5))
    return [[len(set(a[n - worst :]) & set(b[:best])) / best for b in order] for a in order]


def test_the_matrix_is_the_share_of_top_tokens_in_the_bottom_half() -> None:
    scores = torch.rand(6, 37, generator=torch.Generator().manual_seed(0))
    scores[2, :20] = 0.5  # ties
    found = buried_share(scores, 0.5, 0.1)
    assert found.tolist() == dumb_buried(scores.tolist(), 0.5, 0.1)
    assert not found.diagonal().any()  # a layer's best are never its worst


def test_the_block_of_the_paper_is_that_of_its_model() -> None:
    assert blocks(32) == ((1, 9), (10, 20))
    for depth in (2, 4, 24, 80):
        (first, split), (after, end) = blocks(depth)
        assert 1 == first <= split < after <= end <= depth


def test_measured_on_a_model(subject: Any, bundled: Any) -> None:
    data = Ranks(samples=3).run(subject("scenes-qa", "scenes-text"))
    assert data.datasets == {"scenes-qa": 3, "scenes-text": 3}
    depth = bundled.num_layers
    assert len(data.buried) == len(data.buried[0]) == depth
    assert all(data.buried[i][i] == 0 for i in range(depth))
    first, last = data.early[1], data.late[0]
    block = [data.buried[i][j] for i in range(first) for j in range(last - 1, data.late[1])]
    assert abs(sum(block) / len(block) - data.block.value) < 1e-4
    assert f"{100 * data.block.value:.1f} %" in " ".join(data.describe().findings)
