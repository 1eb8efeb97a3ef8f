"""The samples that an analysis runs a model on: drawn once, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftprof.data.asking import Skipped, ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.data.drawing import draw
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import VLM

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""


@dataclass(frozen=True)
class Batch:
    """Samples of one data set, as a model is asked.

    Attributes:
        places: each sample's place in the draw.
    """

    dataset: Dataset
    samples: list[Sample]
    places: list[int]
    inputs: dict[str, Any]


@dataclass
class Sampling:
    """The same draw for whoever asks with the same names, numbers and seed.

    Attributes:
        split: None for each set's own evaluation split.
        skipped: broken samples, filled as batches are made.
    """

    vlm: VLM
    datasets: Sequence[Dataset]
    samples: int
    seed: int = 0
    split: str | None = None
    batch_size: int | None = None
    skipped: dict[str, list[Skipped]] = field(default_factory=dict)

    def split_of(self, dataset: Dataset) -> str:
        return self.split or dataset.eval_split

    def drawn(self) -> dict[str, list[int]]:
        """Data set -> indices of its samples in the split."""
        return {
            d.name: draw(d, self.split_of(d), self.samples, self.seed, at_most=True)
            for d in self.datasets
        }

    def batches(self, progress: Progress | None = None) -> Iterator[Batch]:
        """Batches of samples of similar length, set by set.

        Raises:
            SwiftprofError: no sample of a set can be used.
        """
        drawn = self.drawn()
        total, done = sum(map(len, drawn.values())), 0
        size = self.batch_size or (8 if self.vlm.model.device.type == "cpu" else 16)
        report = progress or (lambda done, total: None)
        report(0, total)
        for dataset in self.datasets:
            indices = drawn[dataset.name]
            samples, broken = ask_all(dataset, self.split_of(dataset), indices, self.vlm)
            self.skipped[dataset.name] = broken
            if not samples:
                raise SwiftprofError(
                    f"data set {dataset.name}: none of {len(indices)} samples can be used; "
                    f"the first: {broken[0].reason}"
                )
            bad = {each.index for each in broken}
            places = [place for place, index in enumerate(indices) if index not in bad]
            pairs = sorted(zip(places, samples, strict=True), key=lambda p: len(p[1].question))
            done += len(broken)
            for start in range(0, len(pairs), size):
                batch = pairs[start : start + size]
                chosen = [sample for _, sample in batch]
                inputs = self.vlm.inputs([s.images for s in chosen], [s.question for s in chosen])
                yield Batch(dataset, chosen, [place for place, _ in batch], inputs)
                done += len(batch)
                report(done, total)

    def used(self) -> dict[str, int]:
        """Data set -> samples that were used."""
        return {n: len(i) - len(self.skipped.get(n, ())) for n, i in self.drawn().items()}

    def broken(self) -> dict[str, int]:
        """Data set -> samples that could not be used, where there are any."""
        return {name: len(each) for name, each in self.skipped.items() if each}
