"""The image with the patches that survive each stage of a pruned run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FADE = 0.78
"""How far a patch that left is faded towards white."""


@dataclass(frozen=True)
class StagePatches:
    """Visual tokens after one stage: numbers in reading order, kept as they are or merged into."""

    title: str
    kept: Sequence[int]
    merged: Sequence[int]


def draw_tokens(
    image: Image.Image, side: int, stages: Sequence[StagePatches], path: Path, caption: str
) -> None:
    """Write a PNG: the image, then one panel per stage; lost patches fade, merged seeds are framed.

    Args:
        side: the image is side x side visual tokens.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    picture = np.asarray(
        image.convert("RGB").resize((side * 32, side * 32), Image.Resampling.NEAREST)
    )
    picture = picture.astype(np.float32) / 255
    figure = Figure(figsize=(3.1 * (len(stages) + 1), 3.7), layout="constrained")
    panels = figure.subplots(1, len(stages) + 1, squeeze=False)[0]
    for panel, stage in zip(panels, (None, *stages), strict=True):
        shown = picture.copy()
        if stage is not None:
            lost = np.ones(side * side, bool)
            lost[list(stage.kept)] = False
            mask = np.kron(lost.reshape(side, side), np.ones((32, 32), bool))
            shown[mask] = FADE + (1 - FADE) * shown[mask]
            for i in stage.merged:
                corner = (i % side * 32 + 1, i // side * 32 + 1)
                panel.add_patch(
                    Rectangle(corner, 29, 29, fill=False, edgecolor="#0072B2", linewidth=1.2)
                )
        panel.imshow(shown, interpolation="nearest")
        panel.set_title(f"all {side * side} tokens" if stage is None else stage.title, fontsize=10)
        panel.set_xticks([])
        panel.set_yticks([])
    figure.suptitle(caption, fontsize=11)
    if any(stage.merged for stage in stages):
        figure.supxlabel(
            "clear: kept   faded: left the sequence   blue frame: merged token", fontsize=9
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
