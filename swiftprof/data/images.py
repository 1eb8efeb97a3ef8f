"""Images that come from anyone: decoded safely, upright, RGB, and no larger than a model can use.

Every image that swiftprof opens comes through here. Formats are a short list, sizes are checked
before anything is decoded, and what Pillow raises becomes one line. What is transparent shows a
white background, and more than eight bits a channel are scaled to eight.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Images
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import DecompressionBombError, Image

from swiftprof.data.frames import pad_to_square
from swiftprof.errors import BadSample

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Others are not tried: some of Pillow's readers start other programs."""
MAX_PIXELS = 1 << 26
"""Larger images are refused before they are decoded; Pillow takes four bytes a pixel."""
MIN_SIDE = 4
"""Processors take sides of one or three pixels for colour channels."""
MAX_BYTES = 200_000_000
MAX_STRETCH = 200
"""Longer side over shorter side."""
KEPT = 1 << 19
"""Pixels up to which an image stays decoded between its check and its use."""
SHRUNK_ABOVE = 1 << 24
SHRUNK_TO = 1 << 22
"""Pixels: an image above the first is shrunk by a whole number, not below the second."""


@dataclass(frozen=True)
class Picture:
    """An image that is decoded when a model is about to see it, and forgotten afterwards.

    Attributes:
        source: its file's bytes or path, or a decoded image.
        what: its name in messages.
        width, height: its size, upright.
        shrink: every block of so many pixels a side becomes one.
        pad: RGB of the padding to a square; None without.
    """

    source: bytes | Path | Image
    what: str
    width: int
    height: int
    shrink: int = 1
    pad: tuple[int, int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Size of what `open` gives."""
        width, height = (math.ceil(side / self.shrink) for side in (self.width, self.height))
        return (width, height) if self.pad is None else (max(width, height),) * 2

    def open(self) -> Image:
        """The image as the model gets it. Raises BadSample."""
        source = self.source
        image = source if isinstance(source, Image) else open_image(source, self.what)
        if self.shrink > 1:
            image = image.convert("RGB").reduce(self.shrink)
        return image if self.pad is None else pad_to_square(image, self.pad)


def picture(source: bytes | Path, what: str) -> Image | Picture:
    """An image that is known to decode; a large one is only kept as its file.

    Raises:
        BadSample: see `open_image`.
    """
    image = open_image(source, what)
    if image.width * image.height <= KEPT:
        return image
    return Picture(source, what, image.width, image.height)


def bytes_held(image: Image | Picture) -> int:
    """Memory that an image takes before it is opened."""
    source = image.source if isinstance(image, Picture) else image
    if isinstance(source, Image):
        return source.width * source.height * len(source.getbands())
    return len(source) if isinstance(source, bytes) else 0


def shrink_factor(width: int, height: int, *, square: bool, seen: tuple[int, int]) -> int:
    """By which whole number an image is shrunk before a processor gets it; 1 for all usual sizes.

    Args:
        square: it is going to be padded to a square.
        seen: the size to which the processor resizes it, where it says so, else its own.
    """
    area = max(width, height) ** 2 if square else width * height
    if area <= SHRUNK_ABOVE:
        return 1
    if seen != (width, height):
        return max(1, min(width // max(1, seen[0]), height // max(1, seen[1])))
    return max(1, math.isqrt(area // SHRUNK_TO))


def open_image(source: bytes | Path, what: str) -> Image:
    """Decode an image: upright, RGB.

    Args:
        source: the file's bytes or its path.
        what: the image's name in messages.

    Raises:
        BadSample: missing, no file, not an image, cut short, or too large.
    """
    try:
        if isinstance(source, Path):
            source = _content(source, what)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes that we judge
            with Images.open(io.BytesIO(source), formats=FORMATS) as image:
                _check_size(*image.size, what)
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _rgb(image, what)
    except BadSample:
        raise
    except FileNotFoundError:
        raise BadSample(f"{what}: no such file") from None
    except DecompressionBombError:
        raise BadSample(f"{what}: too many pixels to open safely") from None
    except UnidentifiedImageError:
        raise BadSample(f"{what}: not a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image") from None
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadSample(f"{what}: not a readable image ({reason})") from None


def decode_base64(text: str, what: str) -> bytes:
    """Bytes of a ``data:`` URL, or of an image written as base64. Raises BadSample."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise BadSample(f"{what}: its data: URL is not base64")
    if len(text) > MAX_BYTES:
        raise BadSample(f"{what}: larger than {MAX_BYTES // 10**6} MB")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadSample(f"{what}: not base64") from None


def looks_like_base64(text: str) -> bool:
    """Whether a text can only be an image in base64: too long for a path, or a ``data:`` URL."""
    return text[:5].lower() == "data:" or (len(text) > 200 and text.startswith(_BASE64_STARTS))


_BASE64_STARTS = ("/9j/", "iVBO", "UklG", "R0lG", "Qk", "SUkq", "TU0A")
"""JPEG, PNG, WebP, GIF, BMP, TIFF."""


def _content(path: Path, what: str) -> bytes:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe or a device would wait or never end
        raise BadSample(f"{what}: not a file")
    if found.st_size > MAX_BYTES:
        raise BadSample(f"{what}: larger than {MAX_BYTES // 10**6} MB")
    return path.read_bytes()


def _check_size(width: int, height: int, what: str) -> None:
    if width * height > MAX_PIXELS:
        most = MAX_PIXELS // 10**6
        raise BadSample(f"{what}: {width} x {height} pixels, over {most} million; shrink it")
    if min(width, height) < MIN_SIDE:
        raise BadSample(f"{what}: {width} x {height} pixels, too small")
    if max(width, height) > MAX_STRETCH * min(width, height):
        raise BadSample(f"{what}: {width} x {height} pixels, too long and thin")


def _rgb(image: Image, what: str) -> Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image, what).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    shown = Images.new("RGB", image.size, "white")
    shown.paste(image, mask=image.getchannel("A"))
    return shown


def _eight_bits(image: Image, what: str) -> Image:
    """A grey image of more than eight bits. Pillow's own conversion cuts values off at 255."""
    sixteen = image.mode.startswith("I;")
    if sixteen:
        image = image.convert("I")
    elif image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise BadSample(f"{what}: has pixels that are no number")
    low, high = image.getextrema()
    if isinstance(low, tuple) or isinstance(high, tuple) or low < 0 or high > 65535:
        raise BadSample(f"{what}: grey values from {low} to {high}; save it with 8 bits")
    scale = 1 / 257 if sixteen or high > 255 else 1.0
    if image.mode == "F" and high <= 1:
        scale = 255.0
    return image.point(lambda value: value * scale + 0.0).convert("L")
