"""The draw by blocks: fair, without repetition, prefix-stable, and cheap to read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftprof.data.base import Dataset
from swiftprof.data.drawing import PER_BLOCK, draw


@dataclass
class Numbers(Dataset):
    name: str = "numbers"
    block: int = 100
    sizes: dict[str, int] = field(default_factory=lambda: {"train": 5000})

    @property
    def splits(self):
        return self.sizes

    def sample(self, split, index):
        raise NotImplementedError

    def score(self, prediction, sample):
        raise NotImplementedError


@given(size=st.integers(1, 700), block=st.integers(1, 130), seed=st.integers(0, 3))
def test_a_whole_draw_is_a_permutation_and_every_draw_its_start(size, block, seed):
    numbers = Numbers(block=block, sizes={"train": size})
    whole = draw(numbers, "train", size, seed)
    assert sorted(whole) == list(range(size))
    for n in {1, size // 2 or 1, size}:
        assert draw(numbers, "train", n, seed) == whole[:n]


def test_a_draw_touches_few_blocks():
    drawn = draw(Numbers(), "train", 200, 0)
    assert len({i // 100 for i in drawn}) == 200 // PER_BLOCK
    assert Counter(i // 100 for i in drawn).most_common(1)[0][1] == PER_BLOCK


def test_every_sample_is_as_likely_as_any_other():
    numbers = Numbers(block=20, sizes={"train": 100})
    seen = Counter(i for seed in range(2000) for i in draw(numbers, "train", 10, seed))
    assert len(seen) == 100
    assert min(seen.values()) > 140  # 200 expected, standard deviation 13
    assert max(seen.values()) < 260


def test_seeds_differ_and_repeat():
    assert draw(Numbers(), "train", 50, 0) == draw(Numbers(), "train", 50, 0)
    assert set(draw(Numbers(), "train", 50, 0)) != set(draw(Numbers(), "train", 50, 1))


def test_at_most_takes_what_there_is():
    numbers = Numbers(sizes={"train": 7})
    assert sorted(draw(numbers, "train", 1000, 0, at_most=True)) == list(range(7))
    with pytest.raises(Exception, match="take 1 to 7"):
        draw(numbers, "train", 8, 0)
