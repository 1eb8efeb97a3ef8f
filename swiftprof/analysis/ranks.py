"""Rank variation (paper Fig. 2): how many of a layer's best tokens are another layer's worst?

Full rankings of every layer come from a short vanilla run. A profile stores each layer's top V %
only; from it comes the second matrix, how far the layers' selections agree, on many more samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.numbers import Mean, mean_interval, percent
from swiftprof.analysis.sampling import Progress, Sampling
from swiftprof.core.counts import kept_count
from swiftprof.core.select import rank
from swiftprof.profiling.record import record
from swiftprof.profiling.store import Profile

LOW, HIGH = 0.5, 0.1
"""Bottom and top share of the paper's figure."""
EARLY, LATE = 9 / 32, 20 / 32
"""The paper sets layers 1-9 against 10-20 of 32; other depths in proportion."""


class Selections(BaseModel):
    """How far the selections of a profile agree.

    Attributes:
        keep: V.
        shared: `[i][j]`, share of layer j+1's selection that is in layer i+1's; mean over samples.
    """

    model_config = ConfigDict(frozen=True)

    keep: float
    datasets: dict[str, int]
    profile: str
    shared: list[list[float]]


class Data(BaseModel):
    """What was measured.

    Attributes:
        buried: `[i][j]`, share of layer j+1's top `high` that layer i+1 ranks in its bottom `low`;
            mean over samples. Unrelated rankings give `low`.
        early, late: first and last layer of the block that the paper shows.
        block: mean over the block's pairs, with its interval over samples.
        per_dataset: the same of each data set.
        worst: (early layer, late layer) of the pair with the largest share in the block.
    """

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    num_layers: int
    datasets: dict[str, int]
    buried: list[list[float]]
    early: tuple[int, int]
    late: tuple[int, int]
    block: Mean
    per_dataset: dict[str, Mean]
    worst: tuple[int, int]
    selections: Selections | None = None


def buried_share(scores: Tensor, low: float = LOW, high: float = HIGH) -> Tensor:
    """Share of each layer's best tokens that each layer ranks among its worst.

    Args:
        scores: `(L, n)`, one prompt's T-V scores of its n visual tokens at every layer.
        low: share of tokens that counts as bottom.
        high: share of tokens that counts as top.

    Returns:
        `(L, L)` float64; `[i, j]` is |bottom(i) ∩ top(j)| / |top(j)|.
    """
    count = scores.shape[1]
    order = rank(scores, torch.ones_like(scores, dtype=torch.bool))
    top = torch.zeros(scores.shape, dtype=torch.float64)
    bottom = torch.zeros_like(top)
    best, worst = kept_count(high, count), kept_count(low, count)
    top.scatter_(1, order[:, :best].cpu(), 1.0)
    bottom.scatter_(1, order[:, count - worst :].cpu(), 1.0)
    return bottom @ top.T / best


def blocks(num_layers: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Early and late layers, as (first, last), in the proportions of the paper's figure."""
    split, end = max(1, round(EARLY * num_layers)), max(2, round(LATE * num_layers))
    return (1, split), (split + 1, end)


def measure(
    sampling: Sampling, profile: Profile | None = None, progress: Progress | None = None
) -> Data:
    """Rank all visual tokens at every layer of the unpruned model, one prefill per sample."""
    vlm = sampling.vlm
    depth = vlm.num_layers
    early, late = blocks(depth)
    total, shares = np.zeros((depth, depth)), dict[str, list[float]]()
    for batch in sampling.batches(progress):
        recording = record(vlm.model, batch.inputs, vlm.image_token_id, 1)
        for scores, visual in zip(recording.scores, recording.visual, strict=True):
            buried = buried_share(scores[:, visual]).numpy()
            total += buried
            block = buried[early[0] - 1 : early[1], late[0] - 1 : late[1]]
            shares.setdefault(batch.dataset.name, []).append(float(block.mean()))
    every = [share for each in shares.values() for share in each]
    mean = total / len(every)
    block = mean[early[0] - 1 : early[1], late[0] - 1 : late[1]]
    at = np.unravel_index(int(block.argmax()), block.shape)
    return Data(
        low=LOW,
        high=HIGH,
        num_layers=depth,
        datasets={name: len(each) for name, each in shares.items()},
        buried=mean.round(5).tolist(),
        early=early,
        late=late,
        block=mean_interval(every),
        per_dataset={name: mean_interval(each) for name, each in shares.items()},
        worst=(early[0] + int(at[0]), late[0] + int(at[1])),
        selections=None if profile is None else selections(profile),
    )


def selections(profile: Profile) -> Selections:
    """How far the selections that a profile stores agree, over all of its samples."""
    depth = profile.model.num_layers
    total, count = np.zeros((depth, depth)), 0
    for chosen in _stored(profile):
        hits = np.zeros((depth, int(chosen.max()) + 1), dtype=np.float32)
        np.put_along_axis(hits, chosen, 1.0, axis=1)
        total += hits @ hits.T / chosen.shape[1]
        count += 1
    return Selections(
        keep=profile.keep,
        datasets=dict(profile.summary.samples),
        profile=str(profile.path),
        shared=(total / max(1, count)).round(5).tolist(),
    )


def _stored(profile: Profile) -> Iterator[NDArray[np.int64]]:
    """Each sample's selections, `(L, n)`."""
    for part in profile.parts():
        column = pq.read_table(part, columns=["selection"], partitioning=None)["selection"]
        for row in column:
            yield row.values.flatten().to_numpy().astype(np.int64).reshape(len(row.values), -1)


def describe(data: Data) -> Description:
    """The matrix in words."""
    low, high = percent(data.low), percent(data.high)
    early, late = (f"{first}–{last}" for first, last in (data.early, data.late))
    worst = data.buried[data.worst[0] - 1][data.worst[1] - 1]
    findings = [
        f"On average {data.block.text()} of the top {high} of layers {late} stand in the bottom "
        f"{low} of layers {early}: a method that drops half of the tokens there has lost them for "
        f"good. Unrelated rankings would give {low}.",
        f"The worst pair: layer {data.worst[0]} ranks {percent(worst)} of layer {data.worst[1]}'s "
        f"top {high} in its bottom half.",
    ]
    rows = [
        (name, str(data.datasets[name]), mean.text()) for name, mean in data.per_dataset.items()
    ]
    tables = [
        Table(
            title=f"Layers {late}'s top {high} in layers {early}'s bottom {low}",
            columns=("data set", "samples", "share [95 % interval]"),
            rows=(*rows, ("all", str(sum(data.datasets.values())), data.block.text())),
        )
    ]
    measured = (
        f"T–V scores of all visual tokens at layers 1–{data.num_layers} in one unpruned prefill a "
        f"sample ({samples_text(data.datasets)}); [i, j] is the mean over samples of "
        f"|bottom {low} of layer i ∩ top {high} of layer j| / |top {high} of layer j|."
    )
    if data.selections is not None:
        found = data.selections
        shared = np.array(found.shared)
        block = shared[data.early[0] - 1 : data.early[1], data.late[0] - 1 : data.late[1]]
        findings.append(
            f"In the profile's {sum(found.datasets.values())} samples, layers {early}'s top "
            f"{percent(found.keep)} hold {percent(float(block.mean()))} of layers {late}'s "
            f"(chance: {percent(found.keep)})."
        )
        measured += (
            f" The agreement of the top {percent(found.keep)} is read from the selections stored "
            f"in {found.profile} ({samples_text(found.datasets)})."
        )
    return Description(measured, tuple(findings), tuple(tables))
