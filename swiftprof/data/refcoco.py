"""RefCOCO, RefCOCO+, RefCOCOg: from a referring expression to a box.

Example: "woman in red on the left" → the model's ``[0.12, 0.30, 0.41, 0.88]``, taken back to pixels
of the original image and compared with the annotated box, ACC@0.5.

Two kinds of repositories, one sample per expression in both:

- ``train`` (and ``val-unc`` / ``val-umd``): jxu124's annotations with boxes as xyxy pixels and
  COCO's own record beside them; the pixels come from COCO's train2014.
- all others: lmms-lab's, with images and boxes as xywh pixels. Their ``val`` of RefCOCO is UNC's
  and Google's together (as is RefCOCOg's, of UMD's and Google's), and their RefCOCO ``test`` is
  Google's; papers report testA, testB (RefCOCO, RefCOCO+), and val-umd and test (RefCOCOg).
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from swiftprof.data.base import Sample
from swiftprof.data.frames import Box
from swiftprof.data.hosted import HostedDataset, hub, image_in, texts_in
from swiftprof.data.own.values import numbers_of
from swiftprof.data.scoring.boxes import score_box
from swiftprof.data.sources.coco import CocoImages
from swiftprof.data.sources.find import Part
from swiftprof.data.wording import box_prompt
from swiftprof.errors import BadSample

ANNOTATED = ("ref_id", "sentences", "bbox", "image_path", "raw_anns")
WITH_PIXELS = ("question_id", "image", "answer", "bbox")
_PIXEL = 1.0
"""Boxes of one object from two columns may differ by rounding, not by more than this."""


def _parts(annotated: str, pixels: str, published: Mapping[str, int]) -> dict[str, Part]:
    """Where each split is; `val-unc` and `val-umd` are the annotations' own validation."""
    own = {"train": "train", "val-unc": "validation", "val-umd": "validation"}
    return {
        split: Part((annotated,), own[split], ANNOTATED)
        if split in own
        else Part(hub(pixels), split, WITH_PIXELS)
        for split in published
    }


class RefCOCO(HostedDataset):
    """The first of the three; the others are it, from other repositories."""

    name = "refcoco"
    description = "referring expression to box"
    metric = "ACC@0.5"
    licence = "annotations undeclared, images: Flickr terms (COCO)"
    localization = True
    max_new_tokens = 100  # InternVL repeats the expression before the box
    counted = "objects"
    eval_split = "testA"
    published: Mapping[str, int] = {
        "train": 42_404,
        "val-unc": 3_811,
        "val": 8_811,
        "test": 5_000,
        "testA": 1_975,
        "testB": 1_810,
    }
    parts: Mapping[str, Part] = _parts("jxu124/refcoco", "RefCOCO", published)
    megabytes: Mapping[str, int] = {"train": 95}

    def _reset(self) -> None:
        super()._reset()
        self._coco = CocoImages(self.data_root)
        self._ends: dict[str, list[int]] = {}

    def size(self, split: str) -> int:
        """Number of expressions."""
        return self._expression_ends(split)[-1] if len(self.rows(split)) else 0

    def sample(self, split: str, index: int) -> Sample:
        ends = self._expression_ends(split)
        number = bisect_right(ends, index)
        which = index - (ends[number - 1] if number else 0)
        row = self.rows(split).row(number)
        make = _annotated if "ref_id" in self.parts[split].columns else _with_pixels
        return make(row, which, self._coco)

    def prompt(self, sample: Sample, style: str) -> str:
        return box_prompt(sample.question, style)

    def score(self, prediction: str, sample: Sample) -> float:
        return score_box(prediction, sample)

    def _expression_ends(self, split: str) -> list[int]:
        """Number of expressions of the first k rows; a row without any still counts, as broken."""
        if split not in self._ends:
            rows = self.rows(split)
            column = "sentences" if "sentences" in rows.columns else "answer"
            lists = rows.column(column)
            counts = (len(each) if isinstance(each, list) else 1 for each in lists)
            self._ends[split] = list(accumulate(max(1, count) for count in counts))
        return self._ends[split]


class RefCOCOPlus(RefCOCO):
    name = "refcoco+"
    description = "referring expression without words of place, to box"
    published: Mapping[str, int] = {
        "train": 42_278,
        "val-unc": 3_805,
        "val": 3_805,
        "testA": 1_975,
        "testB": 1_798,
    }
    parts: Mapping[str, Part] = _parts("jxu124/refcocoplus", "RefCOCOplus", published)


class RefCOCOg(RefCOCO):
    name = "refcocog"
    description = "longer referring expression to box"
    eval_split = "test"
    published: Mapping[str, int] = {"train": 42_226, "val-umd": 2_573, "val": 7_573, "test": 5_023}
    parts: Mapping[str, Part] = _parts("jxu124/refcocog", "RefCOCOg", published)


def _annotated(row: Mapping[str, Any], which: int, coco: CocoImages) -> Sample:
    sentences = row["sentences"]
    if not isinstance(sentences, Sequence) or not sentences:
        raise BadSample("sentences is empty")
    sentence = sentences[which]
    text = sentence.get("sent") or sentence.get("raw")
    if not isinstance(text, str) or not text.strip():
        raise BadSample("the sentence has no text")
    box = _box(row["bbox"], xywh=False)
    recorded = _recorded_box(row["raw_anns"])
    if recorded and any(abs(a - b) > _PIXEL for a, b in zip(box, recorded, strict=True)):
        raise BadSample(f"bbox {_rounded(box)} and raw_anns {_rounded(recorded)} disagree")
    name = re.split(r"[/\\]", str(row["image_path"]))[-1]
    return Sample(
        id=f"{row['ref_id']}-{sentence.get('sent_id', which)}",
        image=coco.image(name),
        question=text.strip(),
        answers=(_rounded(box),),
        box=box,
    )


def _with_pixels(row: Mapping[str, Any], which: int, coco: CocoImages) -> Sample:
    expressions = texts_in(row, "answer")
    box = _box(row["bbox"], xywh=True)
    return Sample(
        id=f"{row['question_id']}-{which}",
        image=image_in(row),
        question=expressions[which].strip(),
        answers=(_rounded(box),),
        box=box,
    )


def _box(values: Any, *, xywh: bool) -> Box:
    a, b, c, d = numbers_of(values)
    box = (a, b, a + c, b + d) if xywh else (a, b, c, d)
    if not (box[2] > box[0] and box[3] > box[1]):
        raise BadSample(f"bbox {_rounded(box)} has no area")
    return box


def _recorded_box(record: Any) -> Box | None:
    """COCO's own annotation, xywh, where it is there and readable."""
    try:
        return _box(json.loads(record)["bbox"], xywh=True)
    except (TypeError, ValueError, KeyError, BadSample):
        return None


def _rounded(box: Box) -> str:
    return "[" + ", ".join(f"{v:.2f}" for v in box) + "] px"
