"""Opening images that come from anyone: whole, upright, RGB, and of a sane size."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image as Images
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import DecompressionBombError, DecompressionBombWarning, Image

from swiftprof.data.base import BadSample

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Others are not tried: some of Pillow's readers start other programs."""
MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (300 MB of RGB)."""
MIN_SIDE = 4
"""Processors take sides of one or three pixels for colour channels."""
MAX_BYTES = 200_000_000
MAX_STRETCH = 200
"""Longer side over shorter side; padding a 1 x 100,000 image to a square would be a bomb, too."""


def open_image(source: bytes | Path, what: str) -> Image:
    """Decode an image.

    Args:
        source: the file's bytes or its path.
        what: the image's name in messages.

    Raises:
        BadSample: missing, not an image, cut short, or too large.
    """
    try:
        if isinstance(source, Path):
            if source.stat().st_size > MAX_BYTES:
                raise BadSample(f"{what}: the file is larger than {MAX_BYTES // 10**6} MB")
            source = source.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DecompressionBombWarning)  # judged below
            with Images.open(io.BytesIO(source), formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    most = MAX_PIXELS // 10**6
                    raise BadSample(f"{what}: {width} x {height} pixels, over {most} million")
                if min(width, height) < MIN_SIDE:
                    raise BadSample(f"{what}: {width} x {height} pixels, too small")
                if max(width, height) > MAX_STRETCH * min(width, height):
                    raise BadSample(f"{what}: {width} x {height} pixels, too long and thin")
                image.load()
                return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise BadSample(f"{what}: no such image file") from None
    except DecompressionBombError:
        raise BadSample(f"{what}: too many pixels to open safely") from None
    except UnidentifiedImageError:
        raise BadSample(f"{what}: not a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadSample(f"{what}: not a readable image ({error})") from None
