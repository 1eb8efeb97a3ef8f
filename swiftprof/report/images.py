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
BUDGET = 8 << 20
"""Characters of all images of a page together."""


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
    _spent: int = 0
    _broken: set[str] = field(default_factory=set)

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
        if name in self._broken:
            return out
        if name not in BUNDLED and not self.every:
            self._give_up(name, "its images are not opened unless `images` is given")
            return out
        try:
            dataset = get_dataset(name, self.data_root)
            rest = iter(indices)
            for place, wanted in enumerate(ids):
                for index in rest:
                    sample = dataset.sample(split, index)
                    if sample.id == wanted:
                        out[place] = self._spend(name, data_url(sample.images[0]))
                        break
                if name in self._broken:
                    break
        except Exception as error:  # whatever a data set's files may raise
            self._give_up(name, f"{type(error).__name__}: {error}")
        return out

    def _spend(self, name: str, url: str) -> str | None:
        if self._spent + len(url) > BUDGET:
            self._give_up(
                name, f"images take more than {BUDGET >> 20} MB; show fewer with `samples`"
            )
            return None
        self._spent += len(url)
        return url

    def _give_up(self, name: str, why: str) -> None:
        self._broken.add(name)
        self.problems.append(f"images of {name}: {' '.join(why.split())[:300]}")
