"""Images of samples for a report, as small `data:` URLs, made again from their data sets."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from swiftprof.data.registry import BUNDLED, get_dataset

LARGEST = 256
"""Pixels of a thumbnail's longer side."""
SMALL = 40_000
"""Bytes up to which a PNG is kept as it is."""


def data_url(image: Image.Image) -> str:
    """A thumbnail: PNG where that is small, as for drawings, else JPEG."""
    small = image.convert("RGB")
    small.thumbnail((LARGEST, LARGEST))
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        small.save(buffer, kind, quality=80, optimize=True)
        if kind == "JPEG" or buffer.tell() <= SMALL:
            break
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"


@dataclass
class Album:
    """Finds images. Bundled data sets are drawn anew; others are opened only if that is allowed,
    as it may mean a download.

    Attributes:
        every: open all data sets.
        problems: why images are missing.
    """

    every: bool = False
    data_root: Path | None = None
    problems: list[str] = field(default_factory=list)

    def find(
        self, name: str, split: str, indices: Sequence[int], ids: Sequence[str]
    ) -> list[str | None]:
        """Images of samples that were drawn in this order.

        Args:
            name: of the data set.
            split: of the data set.
            indices: of the split; may hold samples that were skipped, which have no id.
            ids: of the samples, in the same order.
        """
        out: list[str | None] = [None] * len(ids)
        why = ""
        if name not in BUNDLED and not self.every:
            why = "its images are not opened unless `images` is given"
        else:
            try:
                dataset, rest = get_dataset(name, self.data_root), iter(indices)
                for place, wanted in enumerate(ids):
                    samples = (dataset.sample(split, index) for index in rest)
                    found = next((each for each in samples if each.id == wanted), None)
                    out[place] = data_url(found.images[0]) if found else None
            except Exception as error:  # whatever a data set's files may raise
                why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if why:
            self.problems.append(f"images of {name}: {why}")
        return out
