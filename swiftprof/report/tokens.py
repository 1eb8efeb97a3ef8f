"""The image with the patches that survive each stage of a pruned run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftprof.report.style import MAIN, canvas, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float32]

PATCH = 32
"""Pixels of a patch's side in a drawing."""
FADE = 0.78
"""How far a patch that left is faded towards white."""


@dataclass(frozen=True)
class StagePatches:
    """Visual tokens after one stage: numbers in reading order, kept as they are or merged into."""

    title: str
    kept: Sequence[int]
    merged: Sequence[int]


def faded(image: Image.Image, rows: int, columns: int, kept: Sequence[int] | None) -> Floats:
    """An image in which only the kept patches are clear; None keeps all.

    Returns:
        `(32 * rows, 32 * columns, 3)` float32 in 0..1.
    """
    size = (columns * PATCH, rows * PATCH)
    picture = np.asarray(image.convert("RGB").resize(size, Image.Resampling.NEAREST))
    shown: Floats = (picture / 255).astype(np.float32)
    if kept is not None:
        lost = np.ones(rows * columns, bool)
        lost[list(kept)] = False
        mask = np.kron(lost.reshape(rows, columns), np.ones((PATCH, PATCH), bool))
        shown[mask] = FADE + (1 - FADE) * shown[mask]
    return shown


def draw_patches(
    panel: Axes, image: Image.Image, rows: int, columns: int, stage: StagePatches | None, title: str
) -> None:
    """One panel: the image, or what a stage left of it, merged tokens framed."""
    from matplotlib.patches import Rectangle

    panel.imshow(
        faded(image, rows, columns, stage.kept if stage else None), interpolation="nearest"
    )
    for i in stage.merged if stage else ():
        corner = (i % columns * PATCH + 1, i // columns * PATCH + 1)
        frame = Rectangle(corner, PATCH - 3, PATCH - 3, fill=False, edgecolor=MAIN, linewidth=1.2)
        panel.add_patch(frame)
    panel.set_title(title, fontsize=10)
    panel.set_xticks([])
    panel.set_yticks([])


def draw_tokens(
    image: Image.Image, side: int, stages: Sequence[StagePatches], path: Path, caption: str
) -> None:
    """Write a PNG: the image, then one panel per stage; lost patches fade, merged seeds are framed.

    Args:
        side: the image is side x side visual tokens.
    """
    with plain():
        figure = canvas(3.1 * (len(stages) + 1), 3.7)
        panels = figure.subplots(1, len(stages) + 1, squeeze=False)[0]
        for panel, stage in zip(panels, (None, *stages), strict=True):
            title = f"all {side * side} tokens" if stage is None else stage.title
            draw_patches(panel, image, side, side, stage, title)
        figure.suptitle(caption, fontsize=11)
        if any(stage.merged for stage in stages):
            figure.supxlabel(
                "clear: kept   faded: left the sequence   blue frame: merged token", fontsize=9
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
