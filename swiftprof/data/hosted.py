"""What data sets in parquet repositories share: their files, their rows, their images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from swiftprof.data.base import Dataset, Sample
from swiftprof.data.images import Picture, picture
from swiftprof.data.own.values import shown
from swiftprof.data.sources.find import Part, find
from swiftprof.data.sources.parquet import Rows
from swiftprof.data.wording import SHORT_ANSWER
from swiftprof.errors import BadSample


def hub(name: str) -> tuple[str, str]:
    """A repository of lmms-lab where it is now, and where it was until July 2026."""
    return (f"lmms-lab-encoder/{name}", f"lmms-lab/{name}")


class HostedDataset(Dataset):
    """A data set whose splits are parquet files, one row a sample unless it says otherwise.

    Subclasses set ``parts`` and ``published`` (split → rows on the data set's card).
    """

    parts: Mapping[str, Part]
    published: Mapping[str, int]
    megabytes: Mapping[str, int] = {}
    """Download of a split, where its card tells; of sets read in part, all of it."""

    def __init__(self) -> None:
        self.data_root: Path | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget what was opened."""
        self._opened: dict[Part, Rows] = {}

    @property
    def splits(self) -> Mapping[str, int]:
        return self.published

    def at(self, data_root: Path | None) -> HostedDataset:
        other = copy.copy(self)
        other.data_root = data_root
        other._reset()
        return other

    def open(self, part: Part) -> Rows:
        if part not in self._opened:
            found = find(part, self.name, self.data_root)
            where = f"{self.name} {part.split}"
            self._opened[part] = Rows(found, where, part.columns, in_part=part.in_part)
        return self._opened[part]

    def rows(self, split: str) -> Rows:
        self.check_split(split)
        return self.open(self.parts[split])

    def size(self, split: str) -> int:
        return len(self.rows(split))

    def prompt(self, sample: Sample, style: str) -> str:
        """Most of these sets want short answers."""
        return sample.question + SHORT_ANSWER

    def source(self, split: str) -> str:
        return self.rows(split).found.source


def text_in(row: Mapping[str, Any], column: str) -> str:
    """A text of a row that must be there. Raises BadSample."""
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise BadSample(f"{column} is {shown(value)}, no text")
    return value


def texts_in(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """A list of texts; structs ``{"answer": …}`` count as their text. Raises BadSample."""
    values = row[column]
    if isinstance(values, str):
        values = [values]
    if isinstance(values, Sequence) and values:
        read = [v.get("answer") if isinstance(v, Mapping) else v for v in values]
        texts = [t for t in read if isinstance(t, str)]
        if len(texts) == len(read):
            return tuple(texts)
    raise BadSample(f"{column} is {shown(values)}, no list of texts")


def yes_no_in(row: Mapping[str, Any], column: str) -> str:
    answer = text_in(row, column).lower().strip().replace(".", "")
    if answer not in ("yes", "no"):
        raise BadSample(f"{column} is {shown(answer)}, neither yes nor no")
    return answer


def image_in(row: Mapping[str, Any], column: str = "image") -> Image | Picture:
    """The image of a row as ``datasets`` stores it: ``{"bytes": …, "path": …}``."""
    value = row[column]
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(content, bytes):
        raise BadSample(f"{column} holds no bytes")
    return picture(content, column)
