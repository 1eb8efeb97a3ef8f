"""Grouping, merging and restoring bypassed tokens."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftprof.core.bypass import Bypassed, restore
from swiftprof.core.merge import SEED_POLICIES, assign, best_seeds, even_seeds, mean_merge


def test_a_token_joins_the_seed_with_the_nearest_direction_whatever_its_length() -> None:
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [100.0, 1.0], [0.01, 0.02]]])
    group = assign(hidden, torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool))
    assert group.tolist() == [[0, 1, 0, 1]]


def test_a_seed_stays_in_its_own_group_beside_an_identical_seed() -> None:
    hidden = torch.ones(1, 3, 4)
    group = assign(hidden, torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool))
    assert group.tolist() == [[0, 1, 0]]


def test_unused_seeds_attract_nothing() -> None:
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]])
    group = assign(hidden, torch.tensor([[0, 1]]), torch.tensor([[True, False]]))
    assert group.tolist() == [[0, 0, 0]]


def test_means_are_exact_in_half_precision() -> None:
    hidden = torch.full((1, 300, 1), 1.0, dtype=torch.bfloat16)  # a sum in bfloat16 stops at 256
    merged = mean_merge(hidden, torch.ones(1, 300, dtype=torch.bool), torch.zeros(1, 300).long(), 1)
    assert merged.item() == 1.0
    assert merged.dtype == torch.bfloat16


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(sorted(SEED_POLICIES)),
    st.integers(0, 9),
)
@settings(max_examples=60)
def test_groups_partition_the_rest_and_preserve_its_sum(
    count: int, groups: int, policy: str, seed: int
) -> None:
    groups = min(groups, count)
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, count + 3, 5, generator=generator)
    slots = torch.stack([torch.randperm(60, generator=generator)[: count + 3] for _ in range(2)])
    valid = torch.arange(count + 3)[None].expand(2, -1) < torch.tensor([[count], [count + 3]])
    wanted = torch.tensor([[groups], [groups]])
    seeds = SEED_POLICIES[policy](slots, valid, wanted, groups)
    used = torch.ones(2, groups, dtype=torch.bool)
    assert all(len(set(row)) == groups for row in seeds.tolist())
    assert valid.gather(1, seeds).all()
    group = assign(hidden, seeds, used)
    assert torch.equal(group.gather(1, seeds), torch.arange(groups).expand(2, -1))
    merged = mean_merge(hidden, valid, group, groups)
    for b in range(2):
        sizes = torch.bincount(group[b][valid[b]], minlength=groups)
        assert sizes.sum() == valid[b].sum()  # each token of the rest is in exactly one group
        assert (sizes > 0).all()
        total = hidden[b][valid[b]].sum(0)
        assert torch.allclose((merged[b] * sizes[:, None]).sum(0), total, atol=1e-4)


def test_even_seeds_follow_reading_order_and_best_seeds_the_ranking() -> None:
    slots = torch.tensor([[9, 1, 5, 3, 7, 2]])
    valid = torch.tensor([[True, True, True, True, True, False]])
    count = torch.tensor([[2]])
    assert slots.gather(1, best_seeds(slots, valid, count, 2)).tolist() == [[9, 1]]
    assert slots.gather(1, even_seeds(slots, valid, count, 2)).tolist() == [[3, 7]]


def _split(length: int, away: list[int], seeds: list[int], dtype: torch.dtype) -> tuple:
    """A prompt of which `away` left, with merged tokens in the slots of `seeds`."""
    hidden = torch.randn(1, length, 4).to(dtype)
    rest = hidden[:, away]
    valid = torch.ones(1, len(away), dtype=torch.bool)
    places = torch.tensor([[away.index(s) for s in seeds]])
    group = assign(rest, places, torch.ones(1, len(seeds), dtype=torch.bool))
    merged = mean_merge(rest, valid, group, len(seeds))
    waiting = Bypassed(torch.tensor([away]), valid, rest, group, torch.tensor([seeds]), merged)
    present = sorted(set(range(length)) - set(away) | set(seeds))
    current = hidden.clone()
    current[:, seeds] = merged
    return hidden, current[:, present], torch.tensor([present]), waiting


def test_restore_is_the_identity_when_nothing_changed() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        hidden, current, slots, waiting = _split(10, [7, 2, 3, 8], [2, 8], dtype)
        back = restore(current, slots, None, waiting, 10)
        assert torch.equal(back, hidden)


def test_restore_moves_each_token_by_the_offset_of_its_own_group() -> None:
    hidden, current, slots, waiting = _split(10, [7, 2, 3, 8], [2, 8], torch.float32)
    moved = current.clone()
    shift = {2: 1.0, 8: -3.0}
    for seed, by in shift.items():
        moved[0, slots[0].tolist().index(seed)] += by
    back = restore(moved, slots, None, waiting, 10)
    for place, slot in enumerate(waiting.slots[0].tolist()):
        seed = waiting.seeds[0, waiting.group[0, place]].item()
        assert torch.allclose(back[0, slot], hidden[0, slot] + shift[seed], atol=1e-6)
    others = [s for s in range(10) if s not in waiting.slots[0].tolist()]
    assert torch.equal(back[0, others], hidden[0, others])


def test_restore_without_groups_returns_tokens_as_they_left() -> None:
    hidden = torch.randn(1, 6, 4)
    waiting = Bypassed(
        torch.tensor([[4, 1]]), torch.ones(1, 2, dtype=torch.bool), hidden[:, [4, 1]]
    )
    slots = torch.tensor([[0, 2, 3, 5]])
    back = restore(hidden[:, [0, 2, 3, 5]] + 1, slots, None, waiting, 6)
    assert torch.equal(back[:, [1, 4]], hidden[:, [1, 4]])
    assert torch.equal(back[:, slots[0]], hidden[:, slots[0]] + 1)


def test_restore_ignores_padding() -> None:
    hidden = torch.ones(1, 2, 3)
    waiting = Bypassed(
        torch.tensor([[2, 0]]), torch.tensor([[True, False]]), torch.full((1, 2, 3), 5.0)
    )
    back = restore(hidden, torch.tensor([[0, 1]]), torch.tensor([[False, True]]), waiting, 4)
    assert back[0, :, 0].tolist() == [0, 1, 5, 0]
