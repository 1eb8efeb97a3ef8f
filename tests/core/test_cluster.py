"""Clusters by density peaks against the definition, one token at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from swiftprof.core.cluster import density_peaks


def plain(points: Tensor, count: int) -> tuple[list[int], list[int]]:
    """Centres, and the centre of each point, by lists."""
    size, dim = points.shape
    apart = [
        [math.dist(points[a].tolist(), points[b].tolist()) / dim**0.5 for b in range(size)]
        for a in range(size)
    ]
    near = [sorted(row)[:count] for row in apart]
    density = [math.exp(-sum(x * x for x in row) / len(row)) for row in near]
    score = []
    for a in range(size):
        # Tokens that are each other's nearest are equally dense; the earlier one counts as denser.
        denser = [apart[a][b] for b in range(size) if (density[b], -b) > (density[a], -a)]
        score.append(density[a] * (min(denser) if denser else max(map(max, apart))))
    centres = sorted(range(size), key=lambda a: -score[a])[:count]
    nearest = [a if a in centres else min(centres, key=lambda c: apart[a][c]) for a in range(size)]
    return centres, nearest


@pytest.mark.parametrize("count", [1, 3, 5])
def test_clusters_are_those_of_the_definition_and_padding_changes_nothing(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    long, short = (torch.randn(n, 6, generator=generator) for n in (23, 16))
    hidden = torch.zeros(2, 23, 6)
    hidden[0], hidden[1, :16] = long, short
    present = torch.arange(23) < torch.tensor([[23], [16]])
    counts = torch.tensor([[count], [2]])
    centres, group = density_peaks(hidden, present, counts, max(count, 2))
    for row, points, number in ((0, long, count), (1, short, 2)):
        wanted, nearest = plain(points, number)
        assert centres[row, :number].tolist() == wanted
        assert [wanted[g] for g in group[row, : len(points)].tolist()] == nearest


def test_two_clouds_have_their_centres_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    clouds = torch.randn(20, 4, generator=generator) * 0.1
    clouds[10:] += 5
    _, group = density_peaks(
        clouds[None], torch.ones(1, 20, dtype=torch.bool), torch.tensor([[2]]), 2
    )
    assert len(set(group[0, :10].tolist())) == len(set(group[0, 10:].tolist())) == 1
    assert group[0, 0] != group[0, 10]


def test_equal_points_are_clustered_without_chance() -> None:
    hidden = torch.ones(1, 7, 3)
    present = torch.ones(1, 7, dtype=torch.bool)
    first = density_peaks(hidden, present, torch.tensor([[3]]), 3)
    again = density_peaks(hidden, present, torch.tensor([[3]]), 3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(set(first[0][0].tolist())) == 3
