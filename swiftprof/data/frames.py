"""Where a model's box lies on the image: padding to a square, and the way back to pixels.

A model that was trained on images padded to a square gives boxes relative to that square (LLaVA-1.5
does). Scored as if they were relative to the image, a perfect answer on a 640 x 427 image can miss;
so boxes are taken back to pixels of the original image before they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image as Images
from PIL.Image import Image

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2)."""


@dataclass(frozen=True)
class Frame:
    """The map from a model's coordinates to pixels: ``x * scale_x - left``, the same for y.

    Attributes:
        width, height: size of the original image, to which boxes are clipped.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float = 0.0
    top: float = 0.0

    def to_pixels(self, box: Box) -> Box | None:
        """The box on the original image, clipped to it; None where nothing of it is left."""
        x1, x2 = (_clip(x * self.scale_x - self.left, self.width) for x in (box[0], box[2]))
        y1, y2 = (_clip(y * self.scale_y - self.top, self.height) for y in (box[1], box[3]))
        return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None

    def text(self, box: Box) -> str:
        """A box in pixels as a model would write it: two decimals in 0..1, else whole numbers."""
        x1, x2 = ((x + self.left) / self.scale_x for x in (box[0], box[2]))
        y1, y2 = ((y + self.top) / self.scale_y for y in (box[1], box[3]))
        values = (x1, y1, x2, y2)
        relative = max(values) <= 1.0
        return "[" + ", ".join(f"{v:.2f}" if relative else f"{v:.0f}" for v in values) + "]"


def frame_of(
    size: tuple[int, int], fit: str, units: str, seen: tuple[int, int] | None = None
) -> Frame:
    """The frame of an image of ``size`` (width, height).

    Args:
        fit: ``pad``, ``crop`` or ``whole`` (see ``models.conventions``).
        units: ``unit``, ``thousandths`` or ``pixels``.
        seen: for pixels, the size to which the processor resizes what it is given.
    """
    width, height = size
    if fit == "whole":
        shown, left, top = size, 0.0, 0.0
    else:
        side = max(size) if fit == "pad" else min(size)
        shown = (side, side)
        # padding is whole pixels, (S - W) // 2 as LLaVA pads; a centre crop is taken from the
        # resized image, so its offset is a fraction
        left, top = (
            ((side - width) // 2, (side - height) // 2)
            if fit == "pad"
            else ((side - width) / 2, (side - height) / 2)
        )
    if units == "pixels":
        seen = seen or shown
        scale = (shown[0] / seen[0], shown[1] / seen[1])
    else:
        whole = 1000.0 if units == "thousandths" else 1.0
        scale = (shown[0] / whole, shown[1] / whole)
    return Frame(width, height, *scale, left, top)


def pad_to_square(image: Image, color: tuple[int, int, int]) -> Image:
    """The image in the middle of a square of its longer side; a square image as it is."""
    if image.width == image.height:
        return image
    side = max(image.size)
    square = Images.new("RGB", (side, side), color)
    square.paste(image.convert("RGB"), ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _clip(value: float, end: int) -> float:
    return min(max(value, 0.0), float(end))
