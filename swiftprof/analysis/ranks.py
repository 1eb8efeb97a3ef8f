"""Rank variation (paper Fig. 2): how many of a layer's best tokens are another layer's worst?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from swiftprof.analysis.base import OnSamples, Subject
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import Mean, mean_interval, percent
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

LOW, HIGH = 0.5, 0.1
"""Bottom and top share of the paper's figure."""
EARLY, LATE = 9 / 32, 20 / 32
"""The paper sets layers 1-9 against 10-20 of 32; other depths in proportion."""


class Buried(Data):
    """What was measured.

    Attributes:
        buried: `[i][j]`, share of layer j+1's top `high` that layer i+1 ranks in its bottom `low`;
            mean over samples. Unrelated rankings give `low`.
        early, late: first and last layer of the block that the paper shows.
        block: mean over the block's pairs, with its interval over samples.
        per_dataset: the same of each data set.
        worst: (early layer, late layer) of the pair with the largest share in the block.
    """

    low: float
    high: float
    num_layers: int
    buried: list[list[float]]
    early: tuple[int, int]
    late: tuple[int, int]
    block: Mean
    per_dataset: dict[str, Mean]
    worst: tuple[int, int]

    def describe(self) -> Description:
        low, high = percent(self.low), percent(self.high)
        early, late = (f"{first}–{last}" for first, last in (self.early, self.late))
        worst = self.buried[self.worst[0] - 1][self.worst[1] - 1]
        findings = (
            f"On average {self.block.text()} of the top {high} of layers {late} stand in the "
            f"bottom {low} of layers {early}: a method that drops half of the tokens there has "
            f"lost them for good. Unrelated rankings would give {low}.",
            f"The worst pair: layer {self.worst[0]} ranks {percent(worst)} of layer "
            f"{self.worst[1]}'s top {high} in its bottom half.",
        )
        rows = [
            (name, str(self.datasets[name]), mean.text()) for name, mean in self.per_dataset.items()
        ]
        table = Table(
            title=f"Layers {late}'s top {high} in layers {early}'s bottom {low}",
            columns=("data set", "samples", "share [95 % interval]"),
            rows=(*rows, ("all", str(sum(self.datasets.values())), self.block.text())),
        )
        measured = (
            f"T–V scores of all visual tokens at layers 1–{self.num_layers} in one unpruned "
            f"prefill a sample ({samples_text(self.datasets)}); [i, j] is the mean over samples of "
            f"|bottom {low} of layer i ∩ top {high} of layer j| / |top {high} of layer j|."
        )
        return Description(measured, findings, (table,))

    def draw(self) -> Figure:
        """The heat map, with the paper's block framed; beside it the block's mean by row."""
        from matplotlib.patches import Rectangle

        from swiftprof.drawing import ACCENT, FAINT, INK, canvas, furnish, layer_ticks

        depth = self.num_layers
        figure = canvas(10, 4.6)
        axes, mean = figure.subplots(1, 2, width_ratios=(1.2, 1))
        values = 100 * np.array(self.buried)
        image = axes.imshow(
            values, origin="lower", extent=(0.5, depth + 0.5, 0.5, depth + 0.5), cmap="RdBu_r",
            vmin=0, vmax=100, interpolation="nearest",
        )  # fmt: skip
        (e0, e1), (l0, l1) = self.early, self.late
        size = (l1 - l0 + 1, e1 - e0 + 1)
        axes.add_patch(
            Rectangle((l0 - 0.5, e0 - 0.5), *size, fill=False, edgecolor=INK, lw=2, clip_on=False)
        )
        axes.set_xlabel(f"layer whose top {percent(self.high)} is looked for")
        axes.set_ylabel("layer whose bottom half is searched")
        axes.set_xticks(layer_ticks(depth, 12))
        axes.set_yticks(layer_ticks(depth, 12))
        furnish(axes, "Top tokens found in the bottom half", grid="")
        bar = figure.colorbar(image, ax=axes, shrink=0.85, ticks=[0, 25, 50, 75, 100])
        bar.set_label("%; white and dashed: unrelated rankings")
        bar.outline.set_visible(False)

        late = values[:, l0 - 1 : l1].mean(1)
        layers = np.arange(1, depth + 1)
        colours = [ACCENT if layer <= e1 else FAINT for layer in layers]
        mean.bar(layers, late, color=colours, width=0.75)
        mean.axhline(100 * self.low, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        mean.set_ylim(0, 1.12 * max(100 * self.low, float(late.max())))
        mean.set_xlim(0.3, depth + 0.7)
        mean.set_xticks(layer_ticks(depth, 12))
        mean.set_xlabel(f"layer that drops its bottom half (orange: {e0}–{e1})")
        mean.set_ylabel(f"lost of layers {l0}–{l1}'s top {percent(self.high)}, %")
        furnish(mean, "What dropping half would lose")
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
    needs: ClassVar[str] = "a model"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze ranks",
        "swiftprof analyze ranks --model llava-1.5-7b --datasets textvqa --samples 200",
    )
    data: ClassVar[type[Data]] = Buried

    def run(self, subject: Subject) -> Buried:
        from swiftprof.profiling.record import record

        sampling = self.sampling(subject)
        vlm, depth = sampling.vlm, sampling.vlm.num_layers
        early, late = blocks(depth)
        total, shares = np.zeros((depth, depth)), dict[str, list[float]]()
        with subject.progress("ranking tokens") as step:
            for batch in sampling.batches(step):
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
        return Buried(
            datasets=sampling.used(),
            skipped=sampling.broken(),
            low=LOW,
            high=HIGH,
            num_layers=depth,
            buried=mean.round(5).tolist(),
            early=early,
            late=late,
            block=mean_interval(every),
            per_dataset={name: mean_interval(each) for name, each in shares.items()},
            worst=(early[0] + int(at[0]), late[0] + int(at[1])),
        )


ANALYSIS = Ranks
