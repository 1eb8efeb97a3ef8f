"""Boxes in text, and ACC@0.5: the share of boxes whose IoU with the reference is at least 0.5."""

from __future__ import annotations

import math
import re

from swiftprof.data.base import Sample
from swiftprof.data.frames import Box, Frame

_NUMBER = r"\s*(-?(?:\d+(?:\.\d*)?|\.\d+))\s*"
_BETWEEN_CORNERS = r"(?:,|[\])]\s*,?\s*[\[(])"
_BOX = re.compile(rf"[\[(]{_NUMBER},{_NUMBER}{_BETWEEN_CORNERS}{_NUMBER},{_NUMBER}[\])]")
_LONGEST = 20_000
"""Characters of an answer that are looked at; no model needs more for a box."""


def parse_box(text: str) -> Box | None:
    """The first box of a text, or None; inverted and empty boxes are None too.

    Reads ``[x1, y1, x2, y2]`` and Qwen2-VL's ``(x1,y1),(x2,y2)``, in brackets of either kind, also
    inside JSON (``{"bbox_2d": [..]}``), double brackets, and tags of boxes and references.
    """
    found = _BOX.search(text[:_LONGEST])
    if found is None:
        return None
    x1, y1, x2, y2 = (float(v) for v in found.groups())
    if not all(math.isfinite(v) for v in (x1, y1, x2, y2)):
        return None
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes in the same units; 0 for boxes without an area."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, w) * max(0.0, h)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / area if area > 0 else 0.0


def acc_at_half(prediction: str, answer: str) -> float:
    """1.0 where the predicted box has IoU >= 0.5 with the reference; unreadable boxes score 0.

    Both are texts in the same units.
    """
    predicted, reference = parse_box(prediction), parse_box(answer)
    if reference is None:
        raise ValueError(f"the reference answer {answer!r} is not a box [x1, y1, x2, y2]")
    return 0.0 if predicted is None else float(iou(predicted, reference) >= 0.5)


def acc_at_half_in_pixels(prediction: str, reference: Box, frame: Frame) -> float:
    """The same for a reference in pixels: the predicted box is first taken back to the image."""
    predicted = parse_box(prediction)
    on_image = None if predicted is None else frame.to_pixels(predicted)
    return 0.0 if on_image is None else float(iou(on_image, reference) >= 0.5)


def score_box(prediction: str, sample: Sample) -> float:
    """The same for a sample with a box that was asked (`data.asking.ask`)."""
    if sample.box is None or sample.frame is None:
        raise ValueError("a box is scored on a sample that was asked (data.asking.ask)")
    return acc_at_half_in_pixels(prediction, sample.box, sample.frame)
