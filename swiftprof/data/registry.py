"""Names of data sets. A data set is one file and one line here; nothing is imported until used."""

from __future__ import annotations

import importlib
import random

from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError, did_you_mean

DATASETS = {
    "scenes-ref": "swiftprof.data.scenes:scenes_ref",
    "scenes-text": "swiftprof.data.scenes:scenes_text",
    "scenes-qa": "swiftprof.data.scenes:scenes_qa",
}
BUNDLED = ("scenes-ref", "scenes-text", "scenes-qa")


def get_dataset(name: str) -> Dataset:
    """The data set of that name; SwiftprofError with the nearest names when there is none."""
    if name not in DATASETS:
        raise SwiftprofError(f"unknown data set {name!r}: {did_you_mean(name, DATASETS)}")
    module, _, maker = DATASETS[name].partition(":")
    dataset: Dataset = getattr(importlib.import_module(module), maker)()
    return dataset


def draw(dataset: Dataset, split: str, n: int, seed: int) -> list[int]:
    """Indices of n samples, drawn without replacement; a function of names, n and seed alone.

    Raises:
        SwiftprofError: the split does not exist or has fewer than n samples.
    """
    if split not in dataset.splits:
        raise SwiftprofError(
            f"{dataset.name} has no split {split!r}: it has {', '.join(dataset.splits)}"
        )
    size = dataset.splits[split]
    if not 1 <= n <= size:
        raise SwiftprofError(
            f"{n} samples asked of {dataset.name} {split}, which has {size}: take 1 to {size}"
        )
    return random.Random(f"{dataset.name}/{split}/{seed}").sample(range(size), n)
