"""An image with the patches that survive each stage, and those that came back, marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from swiftprof.drawing import ACCENT, MAIN, canvas, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from swiftprof.models.loading import VLM
    from swiftprof.runtime.trace import PrefillTrace

Floats = NDArray[np.float32]

PATCH = 24
"""Pixels of a patch's side in a drawing."""
FADE = 0.78
"""How far a patch that left is faded towards white."""


class StagePatches(BaseModel):
    """Visual tokens after one stage, numbered in reading order.

    Attributes:
        kept: those that stay as they are.
        merged: where merged tokens go on.
        returned: those of `kept` that the stage before had not kept.
    """

    model_config = ConfigDict(frozen=True)

    title: str
    kept: list[int]
    merged: list[int] = []
    returned: list[int] = []

    def counts(self) -> str:
        """As `40 kept, 11 came back`."""
        back = f", {len(self.returned)} came back" if self.returned else ""
        return f"{len(self.kept)} kept{back}"


def stage_patches(run: PrefillTrace, row: int = 0) -> list[StagePatches]:
    """The stages of one prompt of a traced prefill."""
    out: list[StagePatches] = []
    for number, event in enumerate(run.events):
        kept = run.kept(number, row)
        before = set(out[-1].kept) if out else set(kept)
        title = f"{'after' if event.cut == event.layer else 'before'} layer {event.layer}"
        out.append(
            StagePatches(
                title=title if event.layer else "before layer 1",
                kept=kept,
                merged=run.merged(number, row),
                returned=[place for place in kept if place not in before],
            )
        )
    return out


def patch_grid(vlm: VLM, inputs: Mapping[str, Any], n_visual: int) -> tuple[int, int] | None:
    """Rows and columns of an image's visual tokens; None where they are no plain grid of patches.

    A fixed number of tokens is a square; families of any resolution hand their patches' grid along,
    of which a square block each becomes a token.
    """
    side = round(n_visual**0.5)
    if vlm.visual_tokens is not None:
        return (side, side) if side * side == n_visual else None
    patches = inputs.get("image_grid_thw")
    if patches is None or len(patches) != 1:
        return None
    time, height, width = (int(each) for each in patches[0])
    block = round((time * height * width / n_visual) ** 0.5)
    if time != 1 or block < 1 or height % block or width % block:
        return None
    grid = (height // block, width // block)
    return grid if grid[0] * grid[1] == n_visual else None


def faded(image: Image.Image, grid: tuple[int, int], kept: Sequence[int] | None) -> Floats:
    """An image in which only the kept patches are clear; None keeps all.

    Returns:
        `(PATCH * rows, PATCH * columns, 3)` float32 in 0..1.
    """
    rows, columns = grid
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
    panel: Axes, image: Image.Image, grid: tuple[int, int], stage: StagePatches | None, title: str
) -> None:
    """One panel: the image, or what a stage left of it."""
    from matplotlib.patches import Rectangle

    panel.imshow(faded(image, grid, stage.kept if stage else None), interpolation="nearest")
    marks = ((stage.merged, MAIN, 1.0), (stage.returned, ACCENT, 1.8)) if stage else ()
    for places, colour, width in marks:
        for i in places:
            corner = (i % grid[1] * PATCH + 1, i // grid[1] * PATCH + 1)
            panel.add_patch(
                Rectangle(corner, PATCH - 3, PATCH - 3, fill=False, edgecolor=colour, lw=width)
            )
    panel.set_title(title, fontsize=9)
    panel.set_xticks([])
    panel.set_yticks([])


def legend(stages: Sequence[StagePatches]) -> str:
    """What the marks mean, as far as they occur."""
    parts = ["clear: kept", "faded: left the sequence"]
    parts += ["orange frame: came back"] if any(s.returned for s in stages) else []
    parts += ["blue frame: merged token"] if any(s.merged for s in stages) else []
    return "    ".join(parts)


def draw_tokens(
    image: Image.Image,
    grid: tuple[int, int],
    stages: Sequence[StagePatches],
    path: Path,
    caption: str,
) -> None:
    """Write a picture: the image, then one panel per stage.

    Args:
        grid: rows and columns of visual tokens.
    """
    columns = min(len(stages) + 1, 4)
    rows = -(-(len(stages) + 1) // columns)
    with plain():
        figure = canvas(2.9 * columns, 3.15 * rows + 0.5)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        whole = f"all {grid[0] * grid[1]} tokens"
        for panel, stage in zip(panels, (None, *stages), strict=False):
            title = f"{stage.title}: {stage.counts()}" if stage else whole
            draw_patches(panel, image, grid, stage, title)
        for panel in panels[len(stages) + 1 :]:
            panel.set_visible(False)
        figure.suptitle(caption, fontsize=11)
        figure.supxlabel(legend(stages), fontsize=9)
    save(figure, path)
