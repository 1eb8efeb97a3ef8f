"""Cells of own data, texts, boxes and images: nothing is turned into text that was none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from swiftprof.data.frames import Box
from swiftprof.data.images import Picture, decode_base64, looks_like_base64, picture
from swiftprof.data.scoring.choices import LETTERS
from swiftprof.errors import BadSample

BOX_FORMATS = ("xyxy", "xywh", "xyxy-1", "xywh-1", "xyxy-1000", "xywh-1000")
"""Two corners, or a corner with width and height; in pixels, or in parts of 1 or of 1000."""
MAX_TEXT = 20_000
MAX_CHOICES = len(LETTERS)


def shown(value: object) -> str:
    """A value in a message."""
    try:
        text = repr(value[:100] if isinstance(value, str | bytes | list | tuple) else value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"


def text_of(value: Any, what: str) -> str:
    """A text, or a number as text. Raises BadSample."""
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, bool):
        raise BadSample(f'{what} is {value}; write "yes" or "no", as the model is to say it')
    elif isinstance(value, int):
        text = str(value) if abs(value) < 10**30 else ""
    elif isinstance(value, float) and math.isfinite(value):
        text = str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    else:
        raise BadSample(f"{what} is {shown(value)}, no text")
    if not text:
        raise BadSample(f"{what} is {shown(value)}, no text")
    if len(text) > MAX_TEXT:
        raise BadSample(f"{what} has {len(text):,} characters, over {MAX_TEXT:,}")
    return text


def texts_of(value: Any, what: str) -> tuple[str, ...]:
    """One text or several; ``{"answer": …}`` counts as its text. Raises BadSample."""
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise BadSample(f"{what} is [], no text")
    return tuple(text_of(_inside(each), what) for each in values)


def choices_of(value: Any) -> tuple[str, ...]:
    """The options of a multiple-choice question, at least two. Raises BadSample."""
    if isinstance(value, Mapping):  # {"A": …, "B": …}, or {"text": […], "label": […]}
        value = value.get("text", list(value.values()))
    options = texts_of(value, "choices")
    if not 2 <= len(options) <= MAX_CHOICES:
        raise BadSample(f"choices has {len(options)} options, not 2 to {MAX_CHOICES}")
    return options


def chosen(value: Any, choices: tuple[str, ...]) -> str:
    """The letter of the right option, given as an index from 0, a letter, or the option itself.

    Raises BadSample.
    """
    value = _inside(value[0] if isinstance(value, list | tuple) and len(value) == 1 else value)
    letters = LETTERS[: len(choices)]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(choices):
        return letters[value]
    if isinstance(value, str):
        said = value.strip()
        if said in choices:
            return letters[choices.index(said)]
        letter = said.strip("().: ").upper()
        if len(letter) == 1 and letter in letters:
            return letter
        if said.isascii() and said.isdecimal() and len(said) < 3 and int(said) < len(choices):
            return letters[int(said)]
    raise BadSample(f"answer is {shown(value)}, none of the {len(choices)} choices")


def box_of(value: Any, size: tuple[int, int], form: str) -> Box:
    """A box in pixels.

    Args:
        size: width and height of its image.
        form: see `BOX_FORMATS`.

    Raises:
        BadSample: not four numbers, or not on the image.
    """
    numbers = numbers_of(value)
    corners, _, parts = form.partition("-")
    scale_x, scale_y = ((side / int(parts)) if parts else 1.0 for side in size)
    a, b, c, d = numbers
    x2, y2 = (a + c, b + d) if corners == "xywh" else (c, d)
    x1, y1, x2, y2 = a * scale_x, b * scale_y, x2 * scale_x, y2 * scale_y
    width, height = size
    if not (-1 <= x1 < x2 <= width + 1 and -1 <= y1 < y2 <= height + 1):
        raise BadSample(
            f"box {list(numbers)} does not lie on the image of {width} x {height} pixels as "
            f"{form}; formats are {', '.join(BOX_FORMATS)}"
        )
    return (max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))


def numbers_of(value: Any) -> Box:
    """The four numbers of a box, from a list or a text. Raises BadSample."""
    found = value
    if isinstance(found, str):
        found = re.findall(r"-?\d+(?:\.\d+)?", found[:200])
    elif isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    try:
        a, b, c, d = (float(each) for each in found)
    except (TypeError, ValueError, OverflowError):
        raise BadSample(f"box is {shown(value)}, not four numbers") from None
    if not all(math.isfinite(each) for each in (a, b, c, d)):
        raise BadSample(f"box is {shown(value)}, not four finite numbers")
    return (a, b, c, d)


def from_cell(value: str | None) -> Any:
    """A cell of a CSV table: a list where it is one in JSON, nothing where it is empty."""
    text = (value or "").strip()
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return None if text.lower() in ("", "nan") else text


def _inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        return next((value[k] for k in ("answer", "text", "value") if k in value), value)
    return value


MOST = 64
"""Images of one row."""


def pictures_of(value: Any, roots: Sequence[Path]) -> list[Image | Picture]:
    """The images of a row, in order.

    Args:
        value: one image or a list of them, each a path, bytes, ``{"bytes", "path"}`` as
            ``datasets`` writes it, a ``data:`` URL or base64.
        roots: folders inside which paths must stay; relative ones are looked for in each.

    Raises:
        BadSample: no image, or one that cannot be read or must not be.
    """
    values = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(values) <= MOST:
        raise BadSample(f"{len(values)} images, not 1 to {MOST}")
    return [_picture(each, roots) for each in values]


def _picture(value: Any, roots: Sequence[Path]) -> Image | Picture:
    if isinstance(value, Mapping):
        content = value.get("bytes")
        value = value.get("path") if content is None else content
    if isinstance(value, bytes):
        return picture(value, "image")
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadSample(f"image is {shown(value)}, no path")
    if looks_like_base64(value):
        return picture(decode_base64(value, "image"), "image")
    return picture(_place(value, roots), shown(value))


def _place(name: str, roots: Sequence[Path]) -> Path:
    outside = True
    for root in roots:
        try:
            path = (root / name).resolve()
            there = path.is_file()  # also fails for names that are too long
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BadSample(f"image {shown(name)}: {reason}") from None
        if not any(path.is_relative_to(allowed) for allowed in roots):
            continue
        outside = False
        if there:
            return path
    if name.lower().startswith(("http://", "https://")):
        raise BadSample(f"image {shown(name)} is a URL; download the images first")
    if outside:
        raise BadSample(
            f"image {shown(name)} lies outside {roots[0] if roots else 'the data'}; allow "
            "another folder with `data_root`"
        )
    raise BadSample(f"image {shown(name)}: no such file")
