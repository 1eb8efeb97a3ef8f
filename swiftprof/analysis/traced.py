"""One sample as several methods answered it, with the patches that each of their stages leaves."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, model_validator

from swiftprof.analysis.patches import StagePatches, patch_grid, stage_patches
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.data.base import Dataset, Sample
    from swiftprof.evaluation.answer import Answer
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan

LARGEST = 448
"""Pixels of a stored picture's longer side."""
LARGEST_PIXELS = 4_000_000
MOST_SIDE = 1000
"""Patches of a grid's side."""

Box = tuple[float, float, float, float]


class Traced(BaseModel):
    """One method's answer to one sample."""

    model_config = ConfigDict(frozen=True)

    label: str
    prediction: str
    score: float
    stages: list[StagePatches]
    box: Box | None = None


class ShownSample(BaseModel):
    """One sample.

    Attributes:
        image: a PNG as base64.
        grid: rows and columns of visual tokens; None where they form no grid.
        box: the reference box as fractions of the shown image, for questions that ask for one.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    dataset: str
    question: str
    answers: list[str]
    image: str
    grid: tuple[int, int] | None
    box: Box | None
    methods: list[Traced]

    @model_validator(mode="after")
    def _fits_its_grid(self) -> ShownSample:
        rows, columns = self.grid or (1, 1)
        if not (0 < rows <= MOST_SIDE and 0 < columns <= MOST_SIDE):
            raise ValueError(f"a grid of {rows} x {columns} patches")
        stages = (stage for m in self.methods for stage in m.stages if self.grid)
        for place in (p for s in stages for p in (*s.kept, *s.merged, *s.returned)):
            if not 0 <= place < rows * columns:
                raise ValueError(f"patch {place} is outside the grid of {rows} x {columns}")
        return self


def trace_sample(
    vlm: VLM,
    dataset: Dataset,
    split: str,
    index: int,
    answers: Mapping[str, Answer],
    plans: Mapping[str, Plan],
) -> ShownSample:
    """What every plan leaves of a sample; `answers` are what was said with it, by label."""
    import torch

    from swiftprof.data.asking import ask_all
    from swiftprof.runtime.prune import prune
    from swiftprof.runtime.trace import Trace

    (sample,), _ = ask_all(dataset, split, [index], vlm)
    inputs = vlm.inputs([sample.images], [sample.question])
    options: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": 1}
    methods = []
    for label, answer in answers.items():
        trace = Trace()
        if label in plans:
            with torch.inference_mode(), prune(vlm.model, plans[label], on_stage=trace):
                vlm.model.generate(**inputs, **options)  # type: ignore[operator]
        methods.append(
            Traced(
                label=label,
                prediction=answer.prediction,
                score=answer.score,
                stages=stage_patches(trace.prefills[0]) if trace.prefills else [],
                box=_unit_box(answer.prediction, dataset, sample),
            )
        )
    n_visual = int((inputs["input_ids"] == vlm.image_token_id).sum())
    return ShownSample(
        id=sample.id,
        dataset=dataset.name,
        question=sample.question,
        answers=list(sample.answers),
        image=encode(_seen(sample.images[0], vlm.conventions.image_fit)),
        grid=patch_grid(vlm, inputs, n_visual),
        box=_unit_box(sample.answers[0], dataset, sample) if sample.answers else None,
        methods=methods,
    )


def _seen(image: Image.Image, fit: str) -> Image.Image:
    """The part of an image that becomes visual tokens: processors that crop take the centre."""
    if fit != "crop" or image.width == image.height:
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _unit_box(text: str, dataset: Dataset, sample: Sample) -> Box | None:
    """A box in fractions of the image, where the data set's answers are such boxes.

    Reference boxes in pixels belong to the image before it was padded or cut: they are not drawn.
    """
    from swiftprof.data.scoring.boxes import parse_box

    box = parse_box(text) if dataset.localization and sample.box is None else None
    inside = box is not None and all(-0.01 <= v <= 1.01 for v in box)
    return box if inside else None


def decode(text: str) -> Image.Image:
    """A stored picture. Raises SwiftprofError where it is none, or too large."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",))
        if image.width * image.height > LARGEST_PIXELS:
            raise SwiftprofError("pictures: an image is too large to show")
        return image.convert("RGB")
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise SwiftprofError(f"pictures: an image cannot be read ({error})") from None


def encode(image: Image.Image) -> str:
    """An image as base64 of a PNG no larger than `LARGEST` pixels a side."""
    small = image.convert("RGB")
    small.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
