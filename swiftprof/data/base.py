"""What a data set is to the rest of swiftprof."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from swiftprof.data.frames import Box, Frame
from swiftprof.data.images import Picture
from swiftprof.errors import SwiftprofError
from swiftprof.models.conventions import Conventions


@dataclass(frozen=True)
class Sample:
    """One question about one image, or about several.

    Attributes:
        id: stable name of the sample inside its data set and split.
        image: the image, or the first of several.
        question: the bare question; once a model is asked (``asking.ask``), the whole prompt text.
        answers: reference answers; which of them count, and how, is the scorer's business.
        kind: what the question asks for, for tables per kind; may be empty.
        group: samples of one group are scored together by the set's metrics (MME's pairs).
        box: reference box in pixels of the original image.
        choices: the options of a multiple-choice question, in order.
        hint: context that some multiple-choice questions come with.
        frame: where numbers in the model's answer lie on the original image; None until asked.
        style: prompt style in which it was asked; empty until then.
        others: the images after the first.
    """

    id: str
    image: Image | Picture
    question: str
    answers: tuple[str, ...]
    kind: str = ""
    group: str = ""
    box: Box | None = None
    choices: tuple[str, ...] = ()
    hint: str = ""
    frame: Frame | None = None
    style: str = ""
    others: tuple[Image | Picture, ...] = ()

    @property
    def images(self) -> list[Image]:
        """All images, decoded, as the model gets them. Raises BadSample."""
        every = (self.image, *self.others)
        return [each.open() if isinstance(each, Picture) else each for each in every]


@dataclass(frozen=True)
class Scored:
    """One answer and its score, for metrics of a whole set."""

    kind: str
    group: str
    answers: tuple[str, ...]
    prediction: str
    score: float


class Dataset(ABC):
    """A data set with random access, so that a seeded draw over its index is cheap.

    Subclasses set the attributes below and define ``splits``, ``sample`` and ``score``; everything
    else has a default.

    Attributes:
        metric: name of what ``score`` measures.
        localization: answers are boxes.
        max_new_tokens: longest answer.
        train_split, eval_split: splits to profile and to evaluate on when none is named.
        counted: what ``splits`` counts; sets with several samples an object count objects.
        block: samples per block of the draw, 0 for a plain draw (see ``drawing``).
        origin: what opens it again from anywhere; empty where its name does.
    """

    name: str
    description: str
    metric: str
    licence: str
    localization: bool = False
    max_new_tokens: int = 16
    train_split: str = "train"
    eval_split: str = "test"
    counted: str = "samples"
    block: int = 0
    origin: str = ""

    @property
    @abstractmethod
    def splits(self) -> Mapping[str, int]:
        """Published size of each split, without opening it."""

    @abstractmethod
    def sample(self, split: str, index: int) -> Sample:
        """Sample number ``index`` (0-based) of a split. Raises BadSample where it is broken."""

    @abstractmethod
    def score(self, prediction: str, sample: Sample) -> float:
        """Score of a prediction in 0..1. Never raises on what a model says."""

    def size(self, split: str) -> int:
        """Number of samples that are really there; may open files."""
        return self.splits[split]

    def groups(self, split: str) -> Sequence[Sequence[int]] | None:
        """Indices that must be drawn together, or None where every sample stands alone."""
        return None

    def prompt(self, sample: Sample, style: str) -> str:
        """The text that a model of this prompt style is asked."""
        return sample.question

    def reference(self, sample: Sample) -> str:
        """The answer whose likelihood stands for the sample (``--score nll``).

        The most frequent reference answer, the first of equally frequent ones; a box in the
        model's own coordinates.
        """
        if sample.box is not None and sample.frame is not None:
            return sample.frame.text(sample.box)
        return max(sample.answers, key=sample.answers.count)

    def metrics(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Metrics of a whole set beside the mean score; most sets have none."""
        return {}

    def at(self, data_root: Path | None) -> Dataset:
        """This data set with a folder of local copies."""
        return self

    def source(self, split: str) -> str:
        """Where the split came from, with its revision; empty for sets that need no files."""
        return ""

    def wording(self, conventions: Conventions) -> str:
        """Whose words the prompt is in; the first part of the protocol."""
        return f"{conventions.prompt_style.removesuffix('-eval')} prompt"

    def protocol(self, conventions: Conventions, score: str = "generation") -> str:
        """How a score comes about, in one line; printed beside it and stored with it.

        Args:
            score: ``generation`` for the set's own metric, ``nll`` for the likelihood of the
                reference answer.
        """
        fit, localization = conventions.image_fit, self.localization
        units = {
            "unit": "boxes in 0-1",
            "thousandths": "boxes in 0-1000",
            "pixels": "boxes in pixels as resized",
        }[conventions.box_units]
        back = {"pad": ", un-padded", "crop": ", moved out of the crop", "whole": ""}[fit]
        parts = [
            self.wording(conventions),
            "system prompt of vicuna_v1" if conventions.system else "",
            {
                "pad": "image padded to a square",
                "crop": "image cut to its centre square by the processor",
                "whole": "whole image",
            }[fit],
            units + back if localization else "",
            *(
                ("reference answer teacher-forced", "mean token probability")
                if score == "nll"
                else (f"greedy, at most {self.max_new_tokens} new tokens", self.metric)
            ),
        ]
        return "; ".join(part for part in parts if part)

    def check_split(self, split: str) -> None:
        """Raise SwiftprofError with the splits there are."""
        if split not in self.splits:
            raise SwiftprofError(
                f"{self.name} has no split {split!r}: it has {', '.join(self.splits)}; "
                "name one with `split`"
            )
