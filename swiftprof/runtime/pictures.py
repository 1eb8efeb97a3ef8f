"""Which image or frame a visual token belongs to, and where in it it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.decoder import Decoder


@dataclass(frozen=True)
class Pictures:
    """The images of a prompt, frames of a video among them; `(B, L)` over its slots.

    Attributes:
        number: int64, which picture a visual token belongs to, from 0.
        size: int64, how many visual tokens that picture has.
        row: int64, the token's row in it; None where pictures are no grid.
        column: the same of its column.
    """

    number: Tensor
    size: Tensor
    row: Tensor | None = None
    column: Tensor | None = None


def find_pictures(
    decoder: Decoder, visual: Tensor, index: Tensor, position_ids: Tensor | None
) -> Pictures:
    """Take a prompt's visual tokens apart.

    Where all images have equally many tokens, that many are one. Where positions have three
    dimensions, a picture is what stands together at one time. Otherwise a picture is what stands
    together: of an image cut into tiles with other tokens between them, a tile.

    Args:
        decoder: the model's decoder.
        visual: `(B, L)` bool, visual tokens.
        index: `(B, L)` int64, place of each among the row's visual tokens.
        position_ids: `(3 or 4, B, L)`, the last three of time, height and width.
    """
    begins = visual & ~torch.nn.functional.pad(visual, (1, 0))[:, :-1]
    place = None
    if decoder.mrope:
        if position_ids is None or position_ids.ndim != 3:
            raise SwiftprofError("pictures are told apart by positions of three dimensions")
        time, *place = position_ids[-3:].to(visual.device).expand(3, *visual.shape)
        begins = begins | (visual & (time != time.roll(1, dims=1)))
    elif decoder.picture is not None:
        begins = visual & (index % decoder.picture == 0)
    length = visual.shape[1]
    number = torch.where(visual, (begins.long().cumsum(1) - 1).clamp_min(0), length)
    counts = torch.zeros_like(number[:, :1]).expand(-1, length + 1)
    size = counts.scatter_add(1, number, torch.ones_like(number)).gather(1, number)
    if place is not None:
        far = torch.iinfo(place[0].dtype).max
        least = [
            torch.full_like(counts, far).scatter_reduce(1, number, p, "amin").gather(1, number)
            for p in place
        ]
        return Pictures(number, size, place[0] - least[0], place[1] - least[1])
    if decoder.picture is None:
        return Pictures(number, size)
    side, inside = math.isqrt(decoder.picture), index % decoder.picture
    return Pictures(number, size, inside // side, inside % side)
