"""From a data set's samples to what one model is shown and asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from swiftprof.data.base import BadSample, Dataset, Sample
from swiftprof.data.frames import frame_of, pad_to_square
from swiftprof.models.conventions import Conventions


class Asked(Protocol):
    """What is asked of a model here: ``models.loading.VLM`` has it."""

    @property
    def conventions(self) -> Conventions: ...

    def seen_size(self, width: int, height: int) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be used."""

    index: int
    reason: str


def ask(dataset: Dataset, sample: Sample, vlm: Asked) -> Sample:
    """The sample with its image and text as the model gets them, and the frame of its boxes."""
    conventions = vlm.conventions
    fit = conventions.image_fit
    image = sample.image
    if fit == "pad":
        image = pad_to_square(image, conventions.pad_color)
    seen = vlm.seen_size(*image.size) if conventions.box_units == "pixels" else None
    frame = frame_of(sample.image.size, fit, conventions.box_units, seen) if sample.box else None
    style = conventions.prompt_style
    text = dataset.prompt(sample, style)
    return replace(sample, image=image, question=text, frame=frame, style=style)


def ask_all(
    dataset: Dataset, split: str, indices: Iterable[int], vlm: Asked
) -> tuple[list[Sample], list[Skipped]]:
    """Samples as asked, in order, and those that are broken."""
    good: list[Sample] = []
    bad: list[Skipped] = []
    for index in indices:
        try:
            good.append(ask(dataset, dataset.sample(split, index), vlm))
        except BadSample as error:
            bad.append(Skipped(index, " ".join(str(error).split())))
    return good, bad
