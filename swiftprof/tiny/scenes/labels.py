"""Dense labels: what each patch of a scene shows (used only while training)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from swiftprof.tiny.scenes.graph import (
    CANVAS,
    COLORS,
    KINDS,
    LETTERS,
    LETTERS_PER_SIGN,
    Scene,
)
from swiftprof.tiny.scenes.render import letter_edges

PATCH = 8
SIDE = CANVAS // PATCH
PATCHES = SIDE * SIDE
CLASSES = (len(COLORS) + 1, len(KINDS) + 1, len(LETTERS) + 1, LETTERS_PER_SIGN + 1)
"""Number of classes of colour, shape, letter, and place of the letter; class 0 is 'none'."""
MIN_COVER = 0.25

_COLOR = {c: i + 1 for i, c in enumerate(COLORS)}
_KIND = {s: i + 1 for i, s in enumerate(KINDS)}
_LETTER = {c: i + 1 for i, c in enumerate(LETTERS)}


def covered(box: tuple[int, int, int, int]) -> Iterator[tuple[int, float]]:
    """(patch, share of the patch) for each patch of which a box covers MIN_COVER or more."""
    x0, y0, x1, y1 = box
    for gy in range(y0 // PATCH, (y1 - 1) // PATCH + 1):
        for gx in range(x0 // PATCH, (x1 - 1) // PATCH + 1):
            left, top = gx * PATCH, gy * PATCH
            wide = min(x1, left + PATCH) - max(x0, left)
            high = min(y1, top + PATCH) - max(y0, top)
            if wide * high >= MIN_COVER * PATCH**2:
                yield gy * SIDE + gx, wide * high / PATCH**2


def patch_labels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the thing that covers most of each patch, at least a quarter of it.

    Returns:
        classes (PATCHES, 4) int64 and boxes (PATCHES, 4) float32 in 0..1.
    """
    classes = np.zeros((PATCHES, 4), np.int64)
    boxes = np.zeros((PATCHES, 4), np.float32)
    cover = np.zeros(PATCHES)
    for thing in scene.things:
        edges = letter_edges(thing) if thing.text else []
        for i, share in covered(thing.box):
            if share <= cover[i]:
                continue
            cover[i] = share
            classes[i] = _COLOR[thing.color], _KIND[thing.shape], 0, 0
            boxes[i] = [v / CANVAS for v in thing.box]
            if thing.text:
                left = i % SIDE * PATCH
                shares = [min(b, left + PATCH) - max(a, left) for a, b in pairwise(edges)]
                k = int(np.argmax(shares))
                classes[i, 2:] = _LETTER[thing.text[k]], k + 1
    return classes, boxes
