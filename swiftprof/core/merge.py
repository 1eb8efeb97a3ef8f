"""Merging unselected tokens (paper §3.3, eq. 10 and 11).

The unselected tokens of a stage are called the rest. They stand in an `(B, R)` array from best to
worst score, padded on the right where rows have fewer; Z of them are seeds, and each seed's group
goes on as one merged token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swiftprof.core.layout import gather_tokens
from swiftprof.core.select import hashed_scores


@dataclass(frozen=True)
class Rest:
    """The unselected tokens of a stage, `(B, R)` from best to worst score.

    Attributes:
        slots: `(B, R)` int64.
        present: `(B, R)` bool, false at the padding of rows with fewer.
        index: `(B, R)` int64, place among the visual tokens of the prompt.
        hidden: `(B, R, D)`, as they would enter the next layer.
        count: `(B, 1)` int64, merged tokens Z of each row.
        width: the largest Z, a host integer.
        vision: what the vision tower knew; only for a method that reads it.
    """

    slots: Tensor
    present: Tensor
    index: Tensor
    hidden: Tensor
    count: Tensor
    width: int
    vision: Any = None

    @property
    def used(self) -> Tensor:
        """`(B, Z)` bool, which of the `width` merged tokens a row has."""
        return torch.arange(self.width, device=self.count.device) < self.count


@dataclass(frozen=True)
class Merged:
    """Merged tokens of a stage.

    Attributes:
        seeds: `(B, Z)` int64, places in the rest whose slots the merged tokens take; distinct
            within a row.
        tokens: `(B, Z, D)`.
        group: `(B, R)` int64, the group of each token of the rest; None where none comes back.
        front: how many of the first merged tokens stand before the kept visual tokens, where
            merged tokens stand apart at all.
    """

    seeds: Tensor
    tokens: Tensor
    group: Tensor | None = None
    front: int = 0


def best_seeds(slots: Tensor, valid: Tensor, count: Tensor, width: int) -> Tensor:
    """Seeds are the best-scored of the rest (arguments: see `SEED_POLICIES`)."""
    return torch.arange(width, device=slots.device).expand(slots.shape[0], width)


def even_seeds(slots: Tensor, valid: Tensor, count: Tensor, width: int) -> Tensor:
    """Seeds stand at equal distances in reading order (arguments: see `SEED_POLICIES`)."""
    reading = slots.masked_fill(~valid, torch.iinfo(slots.dtype).max).argsort(dim=1)
    step = 2 * torch.arange(width, device=slots.device) + 1
    places = step * valid.sum(1, keepdim=True) // (2 * count.clamp_min(1))
    return reading.gather(1, places.clamp_max(slots.shape[1] - 1))


def random_seeds(slots: Tensor, valid: Tensor, count: Tensor, width: int) -> Tensor:
    """Seeds are a random draw that depends on the slots alone (see `SEED_POLICIES`)."""
    draw = hashed_scores(slots, 0).masked_fill(~valid, -1.0)
    return draw.argsort(dim=1, descending=True, stable=True)[:, :width]


SeedPolicy = Callable[[Tensor, Tensor, Tensor, int], Tensor]

SEED_POLICIES: dict[str, SeedPolicy] = {
    "best": best_seeds,
    "even": even_seeds,
    "random": random_seeds,
}
"""Who founds a group. The paper leaves it open.

A policy maps (`slots (B, R)`, `valid (B, R)`, `count (B, 1)`, `width`) to `(B, width)` places in
the rest, of which the first `count` of each row are used and must be distinct; `width` is the
largest count, a host integer.
"""


def by_seeds(rest: Rest, policy: str) -> Merged:
    """Groups around seeds, each token with its most similar one, merged by mean (eq. 10, 11).

    Args:
        rest: the unselected tokens.
        policy: a name in `SEED_POLICIES`.
    """
    seeds = SEED_POLICIES[policy](rest.slots, rest.present, rest.count, rest.width)
    group = assign(rest.hidden, seeds, rest.used)
    return Merged(seeds, mean_merge(rest.hidden, rest.present, group, rest.width), group)


def assign(hidden: Tensor, seeds: Tensor, used: Tensor) -> Tensor:
    """The group of each token: the seed most similar by cosine (eq. 10), ties to the earlier seed.

    A seed always belongs to its own group, even beside an identical seed. Cost 2RZD, as in eq. 19.

    Args:
        hidden: `(B, R, D)` hidden states of the rest, any float type; compared in float32.
        seeds: `(B, Z)` int64, places in the rest.
        used: `(B, Z)` bool, false for the padding of rows with fewer seeds.

    Returns:
        `(B, R)` int64 in `[0, Z)`; arbitrary in rows without a seed.
    """
    batch, count = hidden.shape[:2]
    unit = torch.nn.functional.normalize(hidden.float(), dim=-1)
    similarity = unit @ gather_tokens(unit, seeds).transpose(1, 2)  # (B, R, Z)
    group = similarity.masked_fill(~used[:, None], float("-inf")).argmax(-1)
    own = torch.arange(seeds.shape[1], device=seeds.device).expand_as(seeds)
    spare = torch.cat(
        [group, group.new_zeros(batch, 1)], dim=1
    )  # last column takes the unused seeds
    return spare.scatter(1, torch.where(used, seeds, count), own)[:, :count]


def mean_merge(hidden: Tensor, valid: Tensor, group: Tensor, width: int) -> Tensor:
    """Mean hidden state of each group (eq. 11), summed in float32.

    One matrix product with the membership matrix: unlike a scattered sum it is deterministic on
    every device.

    Args:
        hidden: `(B, R, D)`; rows that are not valid must be finite.
        valid: `(B, R)` bool.
        group: `(B, R)` int64 in `[0, width)`.
        width: number of groups Z.

    Returns:
        `(B, Z, D)` in the type of `hidden`; zero for a group without members.
    """
    member = (group[..., None] == torch.arange(width, device=group.device)) & valid[..., None]
    weight = member.float()
    size = weight.sum(1).clamp_min(1.0)
    return ((weight.transpose(1, 2) @ hidden.float()) / size[..., None]).to(hidden.dtype)
