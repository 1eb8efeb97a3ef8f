"""Rank variation (paper Fig. 2): how many of a layer's best tokens are another layer's worst?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from swiftprof.analysis.base import OnSamples, Subject
from swiftprof.analysis.document import Data, Description
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.statistics import Estimate, estimate
from swiftprof.evaluation.table import interval
from swiftprof.tables import Table, percent, samples_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from swiftprof.data.base import Sample

LOW, HIGH = 0.5, 0.1
"""Bottom and top share of the paper's figure."""
EARLY, LATE = 9 / 32, 20 / 32
"""The paper sets layers 1-9 against 10-20 of 32; other depths in proportion."""


class Buried(Data):
    """What was measured.

    Attributes:
        buried: `[i][j]`, share of layer j+1's top `HIGH` that layer i+1 ranks in its bottom `LOW`;
            mean over samples. Unrelated rankings give `LOW`.
        early, late: first and last layer of the block that the paper shows.
        block: mean over the block's pairs, with its interval over samples.
        per_dataset: the same of each data set.
    """

    num_layers: int
    buried: list[list[float]]
    early: tuple[int, int]
    late: tuple[int, int]
    block: Estimate
    per_dataset: dict[str, Estimate]

    def describe(self) -> Description:
        low, high = percent(LOW), percent(HIGH)
        early, late = (f"{first}–{last}" for first, last in (self.early, self.late))
        findings = (
            f"On average {interval(self.block)} of the top {high} of layers {late} stand in the "
            f"bottom {low} of layers {early}: a method that drops half of the tokens there has "
            f"lost them for good. Unrelated rankings would give {low}.",
        )
        sizes = {**self.datasets, "all": sum(self.datasets.values())}
        shares = {**self.per_dataset, "all": self.block}
        table = Table(
            title=f"Layers {late}'s top {high} in layers {early}'s bottom {low}",
            columns=("data set", "samples", "share [95 % interval]"),
            rows=tuple((name, str(sizes[name]), interval(each)) for name, each in shares.items()),
        )
        measured = (
            f"T–V scores of all visual tokens at layers 1–{self.num_layers} in one unpruned "
            f"prefill a sample ({samples_text(self.datasets)}); [i, j] is the mean over samples of "
            f"|bottom {low} of layer i ∩ top {high} of layer j| / |top {high} of layer j|."
        )
        return Description(measured, findings, (table,))

    def draw(self) -> Figure:
        """The heat map, with the paper's block framed."""
        from matplotlib.patches import Rectangle

        from swiftprof.drawing import INK, canvas, furnish, layer_map

        figure = canvas(6.5, 4.6)
        axes = figure.add_subplot()
        layer_map(
            axes, 100 * np.array(self.buried), 1, "%; white: unrelated rankings",
            cmap="RdBu_r", vmin=0, vmax=100,
        )  # fmt: skip
        (e0, e1), (l0, l1) = self.early, self.late
        size = (l1 - l0 + 1, e1 - e0 + 1)
        axes.add_patch(
            Rectangle((l0 - 0.5, e0 - 0.5), *size, fill=False, edgecolor=INK, lw=2, clip_on=False)
        )
        axes.set_xlabel(f"layer whose top {percent(HIGH)} is looked for")
        axes.set_ylabel("layer whose bottom half is searched")
        furnish(axes, "Top tokens found in the bottom half", grid="")
        return figure


def buried_share(scores: Tensor, low: float = LOW, high: float = HIGH) -> Tensor:
    """Share of each layer's best tokens that each layer ranks among its worst.

    Args:
        scores: `(L, n)`, one prompt's T-V scores of its n visual tokens at every layer.
        low: share of tokens that counts as bottom.
        high: share of tokens that counts as top.

    Returns:
        `(L, L)` float64; `[i, j]` is |bottom(i) ∩ top(j)| / |top(j)|.
    """
    import torch

    from swiftprof.core.counts import kept_count
    from swiftprof.core.select import rank

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


@dataclass(frozen=True)
class Ranks(OnSamples):
    """Do later layers want the visual tokens that earlier layers rank lowest? (paper Fig. 2)

    One unpruned prefill per sample ranks all visual tokens at every layer.
    """

    title: ClassVar[str] = "Rank variation between layers"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze ranks",
        "swiftprof analyze ranks --model llava-1.5-7b --datasets textvqa --samples 200",
    )
    data: ClassVar[type[Data]] = Buried

    def run(self, subject: Subject) -> Buried:
        from swiftprof.profiling.record import record
        from swiftprof.profiling.steps import Steps

        vlm, asked, skipped = subject.vlm, *self.asked(subject)
        steps, size = Steps(vlm.model), self.batch_size or 8
        total, done = sum(map(len, asked.values())), 0
        found: dict[str, list[np.ndarray]] = {name: [] for name in asked}
        with subject.progress("ranking tokens") as step:
            for name, samples in asked.items():
                for start in range(0, len(samples), size):
                    batch = samples[start : start + size]
                    inputs = vlm.inputs([s.images for s in batch], [s.question for s in batch])
                    recording = record(steps, inputs, vlm.image_token_id, 1)
                    for scores, visual in zip(recording.scores, recording.visual, strict=True):
                        found[name].append(buried_share(scores[:, visual]).numpy())
                    done += len(batch)
                    step(done, total)
        early, late = blocks(vlm.num_layers)
        rows, columns = slice(early[0] - 1, early[1]), slice(late[0] - 1, late[1])
        shares = {n: np.array([b[rows, columns].mean() for b in m]) for n, m in found.items()}
        mean = np.mean([np.mean(matrices, axis=0) for matrices in found.values()], axis=0)
        return Buried(
            datasets={name: len(each) for name, each in found.items()},
            skipped=skipped,
            num_layers=vlm.num_layers,
            buried=mean.round(5).tolist(),
            early=early,
            late=late,
            block=_mean(shares),
            per_dataset={name: _mean({name: each}) for name, each in shares.items()},
        )

    def asked(self, subject: Subject) -> tuple[dict[str, list[Sample]], dict[str, int]]:
        """The samples of each set, short questions first, and how many of it are broken.

        Raises:
            SwiftprofError: an unknown split, or no sample of a set can be used.
        """
        from swiftprof.data.asking import ask_all
        from swiftprof.data.drawing import draw

        found: dict[str, list[Sample]] = {}
        skipped: dict[str, int] = {}
        for dataset in subject.datasets:
            name, split = dataset.name, self.split or dataset.eval_split
            dataset.check_split(split)
            drawn = draw(dataset, split, self.samples, self.seed, at_most=True)
            samples, broken = ask_all(dataset, split, drawn, subject.vlm)
            if not samples:
                raise SwiftprofError(
                    f"data set {name}: none of {len(broken)} samples can be used; the first: "
                    f"{broken[0].reason}"
                )
            found[name] = sorted(samples, key=lambda sample: len(sample.question))
            skipped |= {name: len(broken)} if broken else {}
        return found, skipped


def _mean(shares: dict[str, np.ndarray]) -> Estimate:
    """Mean over data sets, with its interval."""
    found = estimate(shares, {name: np.ones(len(each)) for name, each in shares.items()})
    assert found is not None  # nothing is divided by 0
    return found


ANALYSIS = Ranks
