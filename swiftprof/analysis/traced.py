"""One sample answered by several methods, with the patches that each of their stages leaves."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.patches import StagePatches, patch_grid, stage_patches
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.data.base import Dataset, Sample
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan

VANILLA = "vanilla"
LARGEST = 448
"""Pixels of a stored picture's longer side."""
LARGEST_PIXELS = 4_000_000

Box = tuple[float, float, float, float]


class Method(BaseModel):
    """One method's answer to one sample."""

    model_config = ConfigDict(frozen=True)

    label: str
    prediction: str
    score: float
    retained: float
    stages: list[StagePatches]
    box: Box | None = None


class Picture(BaseModel):
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
    methods: list[Method]


def trace_sample(
    vlm: VLM, dataset: Dataset, split: str, index: int, variants: Mapping[str, Plan | None]
) -> Picture:
    """Answer one sample with every variant (label -> plan, or None for the unpruned model)."""
    import torch

    from swiftprof.data.asking import ask_all
    from swiftprof.runtime.prune import prune
    from swiftprof.runtime.trace import Trace

    (sample,), _ = ask_all(dataset, split, [index], vlm)
    inputs = vlm.inputs([sample.images], [sample.question])
    n_visual = int((inputs["input_ids"] == vlm.image_token_id).sum())
    prompt = inputs["input_ids"].shape[1]
    options: dict[str, Any] = {"do_sample": False, "num_beams": 1}
    options["max_new_tokens"] = dataset.max_new_tokens
    methods = []
    for label, plan in variants.items():
        trace, generate = Trace(), vlm.model.generate
        with torch.inference_mode():
            if plan is None:
                ids = generate(**inputs, **options)  # type: ignore[operator]
            else:
                with prune(vlm.model, plan, on_stage=trace):
                    ids = generate(**inputs, **options)  # type: ignore[operator]
        said = vlm.decode(ids[:, prompt:])[0]
        run = trace.prefills[0] if trace.prefills else None
        methods.append(
            Method(
                label=label,
                prediction=said,
                score=dataset.score(said, sample),
                retained=n_visual if run is None else run.retained(0, vlm.num_layers),
                stages=[] if run is None else stage_patches(run),
                box=_unit_box(said, dataset, sample),
            )
        )
    return Picture(
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


def encode(image: Image.Image, largest: int = LARGEST) -> str:
    """An image as base64 of a PNG no larger than `largest` pixels a side."""
    small = image.convert("RGB")
    small.thumbnail((largest, largest))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
