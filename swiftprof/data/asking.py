"""From a data set's samples to what one model is shown and asked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from PIL.Image import Image

from swiftprof.data.base import Dataset, Sample
from swiftprof.data.frames import frame_of
from swiftprof.data.images import Picture, bytes_held, shrink_factor
from swiftprof.errors import BadSample, SwiftprofError
from swiftprof.models.conventions import Conventions

if TYPE_CHECKING:
    from swiftprof.models.loading import VLM


class Asked(Protocol):
    """What is asked of a model here: ``models.loading.VLM`` has it."""

    @property
    def conventions(self) -> Conventions: ...

    def seen_size(self, width: int, height: int) -> tuple[int, int]: ...


LOOKED_AT = 16
"""Samples of each set; questions of a set are of a kind."""
LONGEST_REASON = 300
"""Characters of the reason for a skipped sample."""


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be used."""

    index: int
    reason: str


def ask(dataset: Dataset, sample: Sample, vlm: Asked) -> Sample:
    """The sample with its images and text as the model gets them, and the frame of its boxes."""
    conventions = vlm.conventions
    style, fit = conventions.prompt_style, conventions.image_fit
    image, *others = (fitted(each, vlm) for each in (sample.image, *sample.others))
    seen = vlm.seen_size(*image.size) if conventions.box_units == "pixels" else None
    frame = frame_of(sample.image.size, fit, conventions.box_units, seen) if sample.box else None
    return replace(
        sample,
        image=image,
        others=tuple(others),
        question=dataset.prompt(sample, style),
        frame=frame,
        style=style,
    )


def shown(image: Image, vlm: Asked) -> Image:
    """A single image as the model is to get it: padded where it was trained so, never huge."""
    found = fitted(image, vlm)
    return found.open() if isinstance(found, Picture) else found


def fitted(image: Image | Picture, vlm: Asked) -> Image | Picture:
    """The image as the processor is to get it; nothing is decoded for that."""
    conventions, seen_size = vlm.conventions, vlm.seen_size
    width, height = image.size
    pads = conventions.image_fit == "pad" and width != height
    shrink = shrink_factor(width, height, square=pads, seen=seen_size(width, height))
    if not pads and shrink == 1:
        return image
    picture = image if isinstance(image, Picture) else Picture(image, "image", width, height)
    return replace(picture, shrink=shrink, pad=conventions.pad_color if pads else None)


def ask_all(
    dataset: Dataset, split: str, indices: Iterable[int], vlm: Asked, most: float = math.inf
) -> tuple[list[Sample], list[Skipped]]:
    """Samples as asked, in order, and those that are broken.

    Args:
        most: stop once the images of the samples take so many bytes.
    """
    good: list[Sample] = []
    bad: list[Skipped] = []
    taken = 0
    for index in indices:
        if taken >= most:
            break
        try:
            good.append(ask(dataset, _sample(dataset, split, index), vlm))
            taken += sum(map(bytes_held, (good[-1].image, *good[-1].others)))
        except BadSample as error:
            bad.append(Skipped(index, readable(" ".join(str(error).split()))[:LONGEST_REASON]))
    return good, bad


def readable(text: str) -> str:
    """A text that any file can hold: halves of surrogate pairs are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _sample(dataset: Dataset, split: str, index: int) -> Sample:
    """A sample that can be asked and written down. Raises BadSample."""
    try:
        sample = dataset.sample(split, index)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # a value of a kind that the set does not expect, in a file that may come from anyone
        raise BadSample(f"cannot be read ({type(error).__name__}: {error})") from error
    texts = (sample.id, sample.question, *sample.answers, sample.kind, sample.group, sample.hint)
    for text in (*texts, *sample.choices):
        if not isinstance(text, str):
            raise BadSample(f"holds {str(text)[:60]} where a text should be")
        if readable(text) != text:
            raise BadSample(f"holds half a surrogate pair: {text[:60]}")
    return sample


def prompt_sizes(
    vlm: VLM, draws: Iterable[tuple[Dataset, str, Sequence[int]]]
) -> tuple[float, float]:
    """Visual and other tokens of a prompt, averaged over the first samples of each set.

    FLOPs that are asked for are those of the prompts that are run, so a budget in FLOPs is solved
    with these numbers.

    Args:
        vlm: the model.
        draws: data set, split and the samples that will be run.

    Raises:
        SwiftprofError: no sample can be used.
    """
    sizes = []
    for dataset, split, indices in draws:
        samples, _ = ask_all(dataset, split, indices[:LOOKED_AT], vlm)
        for sample in samples:
            given = vlm.inputs([sample.images], [sample.question])
            visual = int((given["input_ids"] == vlm.image_token_id).sum())
            sizes.append((visual, int(given["attention_mask"].sum()) - visual))
    if not sizes:
        raise SwiftprofError("none of the samples can be used; see swiftprof data")
    return (
        sum(visual for visual, _ in sizes) / len(sizes),
        sum(text for _, text in sizes) / len(sizes),
    )
