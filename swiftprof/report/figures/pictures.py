"""Samples in rows, methods below each other, stages beside each other."""

from __future__ import annotations

import base64
import io
import textwrap
from typing import TYPE_CHECKING

from PIL import Image

from swiftprof.analysis.pictures import Data, Method, Picture
from swiftprof.errors import SwiftprofError
from swiftprof.report.style import ACCENT, INK, canvas
from swiftprof.report.tokens import StagePatches, draw_patches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT = "#009E73"
LARGEST_PIXELS = 4_000_000


def draw(data: Data) -> Figure:
    """Every picture with all methods; the last stage of each, and the stages before it."""
    shown = [p for p in data.pictures if p.grid is not None]
    columns = 1 + max((len(m.stages) for p in shown for m in p.methods), default=0)
    lines = [(p, m) for p in shown for m in p.methods if m.stages]
    if not lines:
        figure = canvas(6, 1.2)
        figure.text(0.5, 0.5, "no sample to show under this rule", ha="center", va="center")
        return figure
    figure = canvas(1.9 * columns + 2.4, 2.05 * len(lines))
    panels = figure.subplots(
        len(lines), columns + 1, squeeze=False, width_ratios=[1.15] + [1] * columns
    )
    before = None
    for row, (picture, method) in zip(panels, lines, strict=True):
        image = decode(picture.image)
        _words(row[0], picture, method, picture is not before)
        rows, cells = picture.grid or (1, 1)
        if picture is before:
            row[1].set_visible(False)
        draw_patches(row[1], image, rows, cells, None, f"all {rows * cells} tokens")
        _box(row[1], picture.box, rows, cells, INK, ":")
        for place, panel in enumerate(row[2:]):
            if place >= len(method.stages):
                panel.set_visible(False)
                continue
            stage = method.stages[place]
            patches = StagePatches(stage.title, stage.kept, stage.merged)
            draw_patches(panel, image, rows, cells, patches, f"{stage.title}: {len(stage.kept)}")
        if method.stages and method.box is not None:
            colour = RIGHT if method.score > 0.5 else ACCENT
            _box(row[1 + len(method.stages)], method.box, rows, cells, colour, "-")
        before = picture
    return figure


def decode(text: str) -> Image.Image:
    """A stored picture. Raises SwiftprofError where it is none, or too large."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        if image.width * image.height > LARGEST_PIXELS:
            raise SwiftprofError("pictures: an image is too large to show")
        return image.convert("RGB")
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise SwiftprofError(f"pictures: an image cannot be read ({error})") from None


def _words(axes: Axes, picture: Picture, method: Method, first: bool) -> None:
    axes.axis("off")
    lines = []
    if first:
        asked = textwrap.wrap(picture.question, 30)[:4]
        lines += [(picture.dataset, INK, "bold"), *((line, INK, "normal") for line in asked)]
        said = ", ".join(dict.fromkeys(picture.answers))
        lines.append((f"→ {_short(said)}", INK, "normal"))
        whole = next((m for m in picture.methods if not m.stages), None)
        if whole is not None:
            lines.append((f"unpruned: {_short(whole.prediction, 26)}", INK, "normal"))
    good = method.score > 0.5
    lines.append(("", INK, "normal"))
    lines.append((method.label, RIGHT if good else ACCENT, "bold"))
    lines.append(
        (f"{'✓' if good else '✗'} {_short(method.prediction)}", RIGHT if good else ACCENT, "bold")
    )
    for number, (text, colour, weight) in enumerate(lines):
        axes.text(0, 1 - 0.1 * number, text, color=colour, fontweight=weight, fontsize=8.5,
                  va="top", transform=axes.transAxes)  # fmt: skip


def _short(text: str, most: int = 34) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _box(
    axes: Axes,
    box: tuple[float, float, float, float] | None,
    rows: int,
    columns: int,
    colour: str,
    style: str,
) -> None:
    from matplotlib.patches import Rectangle

    if box is None:
        return
    left, top, right, bottom = (v * 32 * n for v, n in zip(box, (columns, rows) * 2, strict=True))
    axes.add_patch(
        Rectangle(
            (left, top), right - left, bottom - top, fill=False, edgecolor=colour, lw=1.8, ls=style
        )
    )
