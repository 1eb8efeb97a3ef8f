"""Boxes in text, and ACC@0.5: the share of boxes whose IoU with the reference is at least 0.5."""

from __future__ import annotations

import re

_NUMBER = r"\s*(\d*\.?\d+)\s*"
_BOX = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")

Box = tuple[float, float, float, float]


def parse_box(text: str) -> Box | None:
    """The first ``[x1, y1, x2, y2]`` of a text, or None; inverted and empty boxes are None too."""
    found = _BOX.search(text)
    if found is None:
        return None
    x1, y1, x2, y2 = (float(v) for v in found.groups())
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes in the same units."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, w) * max(0.0, h)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / area


def acc_at_half(prediction: str, answer: str) -> float:
    """1.0 where the predicted box has IoU >= 0.5 with the reference; unreadable boxes score 0."""
    predicted, reference = parse_box(prediction), parse_box(answer)
    if reference is None:
        raise ValueError(f"the reference answer {answer!r} is not a box [x1, y1, x2, y2]")
    return 0.0 if predicted is None else float(iou(predicted, reference) >= 0.5)
