"""How all figures look: colours that colour-blind readers tell apart, few lines, direct labels."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swiftprof.errors import SwiftprofError
from swiftprof.tables import html_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe-Ito colours: told apart under every common colour blindness, and in grey print.
MAIN = "#0072B2"
ACCENT = "#D55E00"
SERIES = (
    MAIN, ACCENT, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "d")

# A report replaces these by its own colours, light or dark; so they are used for nothing else.
INK = "#333331"
FAINT = "#777775"
GRID = "#dddddb"
PAPER = "#fffffd"

LARGE = 120_000
"""Bytes above which a PNG gets a palette."""


@contextmanager
def plain() -> Iterator[None]:
    """Settings for drawing and saving: a `$` is a dollar, SVG holds text, ids do not change."""
    import matplotlib

    inked = ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color",
             "ytick.color")  # fmt: skip
    settings: Any = {
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "swiftprof",
        "font.size": 10.0,
        **dict.fromkeys(inked, INK),
        **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), PAPER),
    }
    with matplotlib.rc_context(settings):
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches, apart from pyplot's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def furnish(axes: Axes, title: str = "", grid: Any = "y") -> None:
    """Title to the left, a faint grid behind, no box."""
    if title:
        axes.set_title(title, loc="left", fontweight="bold", color=INK, fontsize=10.5)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def layer_ticks(num_layers: int, most: int = 32) -> list[int]:
    """Layer numbers to label, at most about `most`."""
    step = max(1, round(num_layers / most))
    return [layer for layer in range(1, num_layers + 1) if layer % step == 0]


def layer_map(axes: Axes, values: Any, first: int, label: str, **look: Any) -> None:
    """A square matrix over pairs of layers, from `first` on, with a colour bar."""
    last = first + len(values) - 1
    image = axes.imshow(
        values, origin="lower", interpolation="nearest",
        extent=(first - 0.5, last + 0.5, first - 0.5, last + 0.5), **look,
    )  # fmt: skip
    ticks = [layer for layer in layer_ticks(last, 12) if layer >= first]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.85, label=label)
    bar.outline.set_visible(False)


def spread(values: Sequence[float], least: float) -> list[float]:
    """The values, moved apart until neighbours are `least` apart; their order is kept."""
    order = np.argsort(values, kind="stable")
    room = least * np.arange(len(values))
    free = np.array(values, dtype=float)[order] - room
    up, down = np.maximum.accumulate(free), np.minimum.accumulate(free[::-1])[::-1]
    free[order] = (up + down) / 2 + room
    return [float(each) for each in free]


def end_labels(
    axes: Axes, x: float, labels: Sequence[tuple[float, str, Any]], gap: float = 0.05
) -> None:
    """Names at the right ends of lines, moved apart where they would overlap.

    Args:
        axes: their limits are final.
        x: where the texts start, in data units.
        labels: (value, text, colour); what has the main colour is bold.
        gap: least distance as a share of the axis.
    """
    low, high = axes.get_ylim()
    places = spread([value for value, _, _ in labels], (high - low) * gap)
    for place, (_, text, colour) in zip(places, labels, strict=True):
        axes.annotate(
            text, (x, place), xytext=(4, 0), textcoords="offset points", color=colour, va="center",
            fontsize=9, fontweight="bold" if colour == MAIN else "normal", annotation_clip=False,
        )  # fmt: skip


def brief(text: str, most: int = 30) -> str:
    """A name short enough for a label."""
    return text if len(text) <= most else text[: most - 1] + "…"


def save(figure: Figure, path: Path) -> Path:
    """Write a picture; the suffix says which kind. Raises SwiftprofError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            path.write_bytes(png(figure))
        else:
            with plain():
                figure.savefig(path)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SwiftprofError(f"{path}: cannot draw: {first}; end it in .png or .svg") from error
    return path


def png(figure: Figure, dpi: int = 130) -> bytes:
    """A figure as a small PNG. Equal figures are equal bytes."""
    from PIL import Image

    buffer, small = io.BytesIO(), io.BytesIO()
    with plain():
        figure.savefig(buffer, format="png", dpi=dpi)
    image = Image.open(buffer).convert("RGB")
    image.save(small, "PNG", optimize=True)
    if small.tell() > LARGE:  # photographs, where nobody sees that colours are fewer
        small = io.BytesIO()
        image.quantize(255, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def picture_html(figure: Figure, name: str) -> str:
    """A figure as an `<img>` element that loads nothing."""
    data = base64.b64encode(png(figure, 100)).decode("ascii")
    return (
        f'<img alt="{html_text(name)}" style="max-width:100%" src="data:image/png;base64,{data}">'
    )


def svg_text(figure: Figure, prefix: str, colours: Mapping[str, str]) -> str:
    """A figure as an `<svg>` element for a page: scalable, with the page's colours.

    Args:
        figure: the figure.
        prefix: put before every id, so that several figures share a page.
        colours: colour of the figure -> CSS colour of the page.
    """
    buffer = io.StringIO()
    with plain():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\1{prefix}", text)
    for old, new in colours.items():
        text = text.replace(old, new)
    return text
