"""A user's own data: a JSON Lines or parquet file, wherever the name of a data set may stand.

One row a sample::

    {"image": "images/cat.png", "question": "What animal is this?", "answers": ["cat", "kitten"]}
    {"image": "images/cat.png", "question": "the cat on the left", "box": [12, 30, 220, 310]}

``image`` is a path relative to the file (in parquet also the bytes, as ``datasets`` writes them).
It must stay inside the file's folder or ``--data-root``, symbolic links followed. ``box`` is
``[x1, y1, x2, y2]`` in pixels, and ``question`` then the expression. Optional: ``id``, ``kind``,
``metric`` (one for the whole file, see ``METRICS``).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from swiftprof.data.base import Dataset, Sample
from swiftprof.data.errors import BadSample
from swiftprof.data.hosted import image_in
from swiftprof.data.images import Picture, picture
from swiftprof.data.scoring.boxes import acc_at_half_in_pixels
from swiftprof.data.scoring.exact import exact_match, gqa_match
from swiftprof.data.scoring.vqa import textvqa_accuracy, vqa_accuracy
from swiftprof.data.sources.own_file import SUFFIXES, digest, open_rows
from swiftprof.data.wording import box_prompt
from swiftprof.errors import SwiftprofError, did_you_mean
from swiftprof.models.conventions import Conventions

SPLIT = "all"
BOX_METRIC = "acc@0.5"
MIN_VQA_ANSWERS = 4
"""VQA accuracy leaves one reference out and wants three matches among the rest."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")

METRICS: Mapping[str, Callable[[str, tuple[str, ...]], float]] = {
    "exact": exact_match,
    "gqa": lambda said, answers: max(gqa_match(said, a) for a in answers),
    "vqa": vqa_accuracy,
    "textvqa": textvqa_accuracy,
}
"""Metrics of answers; boxes have ACC@0.5."""


def is_path(name: str) -> bool:
    """Whether a name given for a data set is a file's."""
    return name.lower().endswith(SUFFIXES) or "/" in name or "\\" in name


class OwnDataset(Dataset):
    """One file, one split: ``all``."""

    licence = "your own"
    max_new_tokens = 32
    train_split = SPLIT
    eval_split = SPLIT

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.resolve().parent
        self.data_root: Path | None = None
        self.name = _UNSAFE.sub("-", path.stem).strip(".-") or "data"
        self._rows = open_rows(path)
        columns, first = self._rows.columns()
        self._check_columns(columns)
        self.localization = first.get("box") is not None
        wanted = first.get("metric") or (BOX_METRIC if self.localization else "exact")
        self._metric = _metric(wanted, self.localization, f"{path}: metric")
        self.metric = "ACC@0.5" if self.localization else f"{self._metric} match"
        if self._metric in ("vqa", "textvqa"):
            self.metric = f"{self._metric} accuracy"
        if self.localization:
            self.max_new_tokens = 48
        self.description = f"{len(self._rows)} rows of {path.name}"
        self._digest = digest(path)

    @property
    def splits(self) -> Mapping[str, int]:
        return {SPLIT: len(self._rows)}

    def at(self, data_root: Path | None) -> OwnDataset:
        other = copy.copy(self)
        other.data_root = data_root
        return other

    def source(self, split: str) -> str:
        return f"{self.path.name} sha256:{self._digest}"

    def sample(self, split: str, index: int) -> Sample:
        try:
            return self._sample(index)
        except BadSample as error:
            raise BadSample(f"{self._rows.place(index)}: {error}") from None

    def _sample(self, index: int) -> Sample:
        row = self._rows.row(index)
        question = row.get("question")
        if not isinstance(question, str) or not question.strip():
            raise BadSample(f"question is {str(question)[:60]!r}, no text")
        metric = row.get("metric")
        if metric is not None and str(metric).lower() != self._metric:
            raise BadSample(f"metric is {metric!r}, but the file began with {self._metric!r}")
        image = self._image(row)
        box = _box(row.get("box"), image) if self.localization else None
        shown = "[" + ", ".join(f"{v:g}" for v in box or ()) + "] px"
        name = row.get("id")
        return Sample(
            id=f"{index:06d}" if name is None else f"{index:06d}-{name}",
            image=image,
            question=question.strip(),
            answers=(shown,) if box else self._answers(row),
            kind=str(row.get("kind") or ""),
            box=box,
        )

    def wording(self, conventions: Conventions) -> str:
        return super().wording(conventions) if self.localization else "questions as they stand"

    def prompt(self, sample: Sample, style: str) -> str:
        """Expressions are asked in the model's own words, questions as they stand."""
        return box_prompt(sample.question, style) if self.localization else sample.question

    def score(self, prediction: str, sample: Sample) -> float:
        if not self.localization:
            return METRICS[self._metric](prediction, sample.answers)
        if sample.box is None or sample.frame is None:
            raise ValueError("a box is scored on a sample that was asked (data.asking.ask)")
        return acc_at_half_in_pixels(prediction, sample.box, sample.frame)

    def _answers(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        values = row.get("answers")
        values = row.get("answer") if values is None else values
        if isinstance(values, str | int | float) and not isinstance(values, bool):
            values = [values]
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise BadSample(f"answers is {str(values)[:60]!r}, no text and no list of texts")
        answers = tuple(str(v) for v in values if isinstance(v, str | int | float))
        if len(answers) != len(values):
            raise BadSample("answers holds something that is no text")
        if self._metric in ("vqa", "textvqa") and len(answers) < MIN_VQA_ANSWERS:
            raise BadSample(
                f"{len(answers)} answers, but metric {self._metric} compares with at least "
                f"{MIN_VQA_ANSWERS} (ten are usual)"
            )
        return answers

    def _image(self, row: Mapping[str, Any]) -> Image | Picture:
        value = row.get("image")
        if isinstance(value, Mapping) and value.get("bytes") is None:
            value = value.get("path")
        if isinstance(value, bytes | Mapping):
            return image_in({"image": value})
        if not isinstance(value, str) or not value or "\0" in value:
            raise BadSample(f"image is {str(value)[:60]!r}, no path")
        roots = [self.folder, *([self.data_root.resolve()] if self.data_root else [])]
        outside = True
        for root in roots:
            try:
                path = (root / value).resolve()
                there = path.is_file()  # also fails for names that are too long
            except (OSError, RuntimeError) as error:
                raise BadSample(f"image {value[:200]!r}: {error}") from None
            if not any(path.is_relative_to(allowed) for allowed in roots):
                continue
            outside = False
            if there:
                return picture(path, value)
        if outside:
            raise BadSample(
                f"image {value[:200]!r} lies outside {self.path.parent}; give `data_root` DIR to "
                "allow another folder"
            )
        raise BadSample(f"image {value[:200]!r}: no such file")

    def _check_columns(self, columns: set[str]) -> None:
        for column in ("image", "question"):
            if column not in columns:
                raise SwiftprofError(
                    f"{self.path}: column {column!r} is missing ({did_you_mean(column, columns)}); "
                    "a row has image, question, and answers or box"
                )
        if not {"answers", "answer", "box"} & columns:
            raise SwiftprofError(
                f"{self.path}: no column answers and no column box "
                f"({did_you_mean('answers', columns)}); a row has image, question, and one of them"
            )


def _box(value: Any, image: Image | Picture) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(v) for v in ([] if isinstance(value, str) else value))
    except (TypeError, ValueError):
        raise BadSample(f"box is {str(value)[:60]!r}, not [x1, y1, x2, y2]") from None
    if not (0 <= x1 < x2 <= image.width + 1 and 0 <= y1 < y2 <= image.height + 1):
        raise BadSample(
            f"box {[x1, y1, x2, y2]} does not lie on the image of {image.width} x {image.height} "
            "pixels as [x1, y1, x2, y2]"
        )
    return (x1, y1, x2, y2)


def _metric(name: Any, localization: bool, where: str) -> str:
    known = (BOX_METRIC,) if localization else tuple(METRICS)
    if str(name).lower() not in known:
        raise SwiftprofError(f"{where} {str(name)[:40]!r}: {did_you_mean(str(name), known)}")
    return str(name).lower()
