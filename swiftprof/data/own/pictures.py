"""The images that a row names, by path, by bytes or in base64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from swiftprof.data.errors import BadSample
from swiftprof.data.images import Picture, decode_base64, looks_like_base64, picture
from swiftprof.data.own.values import shown

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
    return picture(_inside(value, roots), shown(value))


def _inside(name: str, roots: Sequence[Path]) -> Path:
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
