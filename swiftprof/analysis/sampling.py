"""The samples that an analysis runs a model on: drawn once, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftprof.data.asking import ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.data.drawing import draw
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import VLM


@dataclass(frozen=True)
class Batch:
    """Samples of one data set, as a model is asked."""

    dataset: Dataset
    samples: list[Sample]
    inputs: dict[str, Any]


@dataclass
class Sampling:
    """The same draw for whoever asks with the same names, numbers and seed.

    Attributes:
        split: None for each set's own evaluation split.
        used, skipped: data set -> samples that could be used or not, filled as batches are made.
    """

    vlm: VLM
    datasets: Sequence[Dataset]
    samples: int
    seed: int = 0
    split: str | None = None
    batch_size: int | None = None
    used: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def batches(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Batch]:
        """Batches of samples of similar length, set by set; `progress` is told (done, total).

        Raises:
            SwiftprofError: no sample of a set can be used.
        """
        size = self.batch_size or (8 if self.vlm.model.device.type == "cpu" else 16)
        report = progress or (lambda done, total: None)
        splits = {d.name: self.split or d.eval_split for d in self.datasets}
        drawn = {
            d.name: draw(d, splits[d.name], self.samples, self.seed, at_most=True)
            for d in self.datasets
        }
        total, done = sum(map(len, drawn.values())), 0
        for dataset in self.datasets:
            name = dataset.name
            samples, broken = ask_all(dataset, splits[name], drawn[name], self.vlm)
            if not samples:
                raise SwiftprofError(
                    f"data set {name}: none of {len(broken)} samples can be used; the first: "
                    f"{broken[0].reason}"
                )
            self.used[name] = len(samples)
            if broken:
                self.skipped[name] = len(broken)
            done += len(broken)
            samples = sorted(samples, key=lambda sample: len(sample.question))
            for start in range(0, len(samples), size):
                batch = samples[start : start + size]
                inputs = self.vlm.inputs([s.images for s in batch], [s.question for s in batch])
                report(done, total)
                yield Batch(dataset, batch, inputs)
                done += len(batch)
        report(total, total)
