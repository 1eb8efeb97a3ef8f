"""The seeded draw over the index of a split.

A draw is a function of (data set, split, seed) and the size of the split alone: no worker, batch
or order has a say. A smaller draw is the start of a larger one, as long as neither cuts a group.

Large sets are read row group by row group over the network, so a plain draw of 1,000 samples would
touch nearly every group. Their draw goes block by block: the index is cut into blocks of
neighbours, the blocks are shuffled, and each gives ``PER_BLOCK`` of its samples before the next
one's turn; then it starts over. Every sample is as likely as any other, and 1,000 samples cost a
hundred groups.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain, islice

from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError

PER_BLOCK = 10


def draw(dataset: Dataset, split: str, n: int, seed: int, *, at_most: bool = False) -> list[int]:
    """Indices of n samples, drawn without replacement.

    Args:
        at_most: take the whole split where it has fewer than n samples.

    Raises:
        SwiftprofError: the split does not exist or has fewer than n samples.
    """
    dataset.check_split(split)
    size = dataset.size(split)
    if at_most:
        n = min(n, size)
    if not 1 <= n <= size:
        raise SwiftprofError(
            f"{n} samples asked of {dataset.name} {split}, which has {size}: "
            + (f"take 1 to {size}" if size else "it is empty")
        )
    rng = random.Random(f"{dataset.name}/{split}/{seed}")
    groups = dataset.groups(split)
    if groups is not None:
        return _whole_groups([tuple(g) for g in groups], n, rng)
    if dataset.block:
        return list(islice(_by_block(size, dataset.block, rng), n))
    return _plain(size, n, rng)


def _plain(size: int, n: int, rng: random.Random) -> list[int]:
    """The first n different numbers below `size`. Unlike ``rng.sample``, which draws in another way
    when n comes near `size`, every draw is the start of a larger one.
    """
    drawn: dict[int, None] = {}
    while len(drawn) < n:
        drawn[rng.randrange(size)] = None
    return list(drawn)


def _whole_groups(groups: list[tuple[int, ...]], n: int, rng: random.Random) -> list[int]:
    """As many whole groups as fit into n, at least one."""
    chosen: list[int] = []
    for group in rng.sample(groups, len(groups)):
        if chosen and len(chosen) + len(group) > n:
            break
        chosen += group
    return chosen


def _by_block(size: int, block: int, rng: random.Random) -> Iterator[int]:
    starts = list(range(0, size, block))
    rng.shuffle(starts)
    key = rng.random()
    for turn in range(-(-block // PER_BLOCK)):
        yield from chain.from_iterable(_turn(start, size, block, key, turn) for start in starts)


def _turn(start: int, size: int, block: int, key: float, turn: int) -> list[int]:
    """What a block gives at its n-th turn; its order is its own, so none need be kept."""
    inside = list(range(start, min(start + block, size)))
    random.Random(f"{key}/{start}").shuffle(inside)
    return inside[turn * PER_BLOCK : (turn + 1) * PER_BLOCK]
