"""What a data set is to the rest of swiftprof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL.Image import Image


@dataclass(frozen=True)
class Sample:
    """One question about one picture.

    Attributes:
        id: stable name of the sample inside its data set and split.
        answers: reference answers; which of them count, and how, is the scorer's business.
        kind: what the question asks for, for tables per kind; may be empty.
    """

    id: str
    image: Image
    question: str
    answers: tuple[str, ...]
    kind: str = ""


@runtime_checkable
class Dataset(Protocol):
    """A data set with random access, so that a seeded draw over its index is cheap."""

    name: str
    description: str
    metric: str
    licence: str
    localization: bool
    max_new_tokens: int

    @property
    def splits(self) -> Mapping[str, int]:
        """Number of samples of each split."""

    def sample(self, split: str, index: int) -> Sample:
        """Sample number ``index`` (0-based) of a split."""

    def score(self, prediction: str, sample: Sample) -> float:
        """Score of a prediction in 0..1."""
