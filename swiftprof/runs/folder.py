"""A run's folder: ``run.json`` (settings and drawn samples) and parts of at most 50 samples.

Every part says by itself what it holds (`swiftprof.runs.part`), so a run is whatever sound parts
are there: it goes on after any interruption, mends what is damaged, and grows by more samples, more
data sets or more methods. Samples that a part holds are never measured again. A sample is found by
its place in the seeded draw, and a smaller draw is the start of a larger one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object, validated, write_text_atomic
from swiftprof.runs.part import Damaged, Part, Stamp, read_part, write_part
from swiftprof.runs.settings import RunSettings

PART_SAMPLES = 50
MAX_BYTES = 1 << 26
STALE = 3600.0
"""Seconds after which a temporary file belongs to nobody: writing one takes less than a minute."""

S = TypeVar("S", bound=RunSettings)
Index = Annotated[int, Field(ge=0, le=10**9)]


class Run(BaseModel, Generic[S]):
    """``run.json``: what a folder measures, and on which samples (indices of the split)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: S
    draw: dict[str, list[Index]]

    @model_validator(mode="after")
    def _draws_all(self) -> Run[S]:
        if set(self.draw) != set(self.settings.datasets):
            raise ValueError("draw: must have the data sets of settings.datasets")
        return self

    def difference(self, other: Run[S]) -> str:
        """Why two runs cannot share a folder; empty where they can."""
        if other_settings := self.settings.difference(other.settings):
            return other_settings
        for name in set(self.draw) & set(other.draw):
            ours, theirs = self.draw[name], other.draw[name]
            both = min(len(ours), len(theirs))
            if ours[:both] != theirs[:both]:
                return f"another draw of {name}, so the data set has changed since"
        return ""


@dataclass(frozen=True)
class Series:
    """Samples that are measured under the same settings; their parts are numbered from 0.

    Attributes:
        name: of the parts.
        digest: of everything that decides their rows.
        indices: the samples, in the order drawn.
    """

    name: str
    digest: str
    indices: tuple[int, ...]

    def chunks(self) -> list[tuple[int, ...]]:
        """The samples, by part."""
        return chunks(self.indices)


@dataclass(frozen=True)
class Parts:
    """The parts of a folder.

    Attributes:
        schema: columns of their rows.
    """

    folder: Path
    schema: pa.Schema

    def path(self, series: str, number: int) -> Path:
        return self.folder / "parts" / f"{series}-{number:05d}.parquet"

    def found(
        self, series: Series, number: int, columns: Sequence[str] | None = None
    ) -> Part | None:
        """What is there of a part; None where it is missing or damaged.

        Raises:
            SwiftprofError: a sound part of other settings lies there.
        """
        path = self.path(series.name, number)
        try:
            part = read_part(path, self.schema, columns)
        except Damaged:
            return None
        if part.stamp.settings != series.digest:
            raise SwiftprofError(
                f"{path}: was measured with other settings; choose another `out`, or delete it"
            )
        return part

    def missing(self, series: Series) -> dict[int, tuple[int, ...]]:
        """Number of a part -> samples that it still lacks; whole parts are left out."""
        lacking = {}
        for number, indices in enumerate(series.chunks()):
            part = self.found(series, number, self.schema.names[:1])
            held = part.held if part is not None else set()
            if rest := tuple(i for i in indices if i not in held):
                lacking[number] = rest
        return lacking

    def add(
        self,
        series: Series,
        number: int,
        rows: Mapping[int, Mapping[str, Any]],
        skipped: Sequence[Skipped] = (),
    ) -> None:
        """Put samples into a part, beside those that it holds.

        Args:
            rows: by the index of their sample.

        Raises:
            SwiftprofError: it cannot be written.
        """
        before = self.found(series, number)
        found = dict(rows)
        out = {each.index: each for each in skipped}
        if before is not None:
            held = zip(before.stamp.indices, before.rows.to_pylist(), strict=True)
            found = {**dict(held), **found}
            out = {**{each.index: each for each in before.stamp.skipped}, **out}
        # What is there may be more than this run draws. In the order drawn, then the rest.
        drawn = series.chunks()[number]
        order = [*drawn, *(i for i in [*found, *out] if i not in drawn)]
        if len({*found, *out}) > PART_SAMPLES:
            order = list(drawn)  # another part's samples have been put in this one's place
        stamp = Stamp(
            settings=series.digest,
            indices=tuple(i for i in order if i in found),
            skipped=tuple(out[i] for i in order if i in out and i not in found),
        )
        path = self.path(series.name, number)
        write_part(path, self.schema, [found[i] for i in stamp.indices], stamp)
        sweep(path.parent)

    def take(self, other: Parts, series: Series) -> None:
        """Copy samples that are missing here from another folder."""
        for number, lacking in self.missing(series).items():
            part = other.found(series, number)
            if part is None:
                continue
            held = zip(part.stamp.indices, part.rows.to_pylist(), strict=True)
            rows = {index: row for index, row in held if index in lacking}
            skipped = [each for each in part.stamp.skipped if each.index in lacking]
            if rows or skipped:
                self.add(series, number, rows, skipped)

    def read(self, series: Series, columns: Sequence[str] | None = None) -> Iterator[Part]:
        """The series' own samples, part by part.

        Raises:
            SwiftprofError: a part is missing, damaged, or of other settings.
        """
        for number, indices in enumerate(series.chunks()):
            part = read_part(self.path(series.name, number), self.schema, columns)
            if part.stamp.settings != series.digest or not part.held.issuperset(indices):
                raise Damaged(
                    f"{self.path(series.name, number)}: holds other samples; run the command that "
                    "made it again"
                )
            yield _only(part, indices)


def _only(part: Part, indices: Sequence[int]) -> Part:
    """Some samples of a part, in the order given."""
    place = {index: n for n, index in enumerate(part.stamp.indices)}
    rows = [i for i in indices if i in place]
    skipped = {each.index: each for each in part.stamp.skipped}
    stamp = part.stamp.model_copy(
        update={
            "indices": tuple(rows),
            "skipped": tuple(skipped[i] for i in indices if i in skipped),
        }
    )
    if stamp == part.stamp:
        return part
    return Part(part.rows.take([place[i] for i in rows]), stamp)


def chunks(indices: Sequence[int]) -> list[tuple[int, ...]]:
    """Drawn samples by part."""
    return [tuple(indices[i : i + PART_SAMPLES]) for i in range(0, len(indices), PART_SAMPLES)]


def open_run(folder: Path, run: Run[S]) -> None:
    """Begin a run in a folder, or go on with one that this one continues.

    Raises:
        SwiftprofError: the folder holds a run that cannot share it, or cannot be written.
    """
    try:
        there = read_run(folder, type(run))
    except SwiftprofError:
        there = None  # missing or damaged: what the parts say of themselves decides
    if there is not None and (why := run.difference(there)):
        raise SwiftprofError(f"{folder}: holds another run ({why}); choose another `out`")
    if there != run:
        write_text_atomic(folder / "run.json", run.model_dump_json(indent=1) + "\n")
    sweep(folder)


def read_run(folder: Path, kind: type[Run[S]]) -> Run[S]:
    """What a folder measures.

    Raises:
        SwiftprofError: no such folder, no run in it, or one of another kind.
    """
    file = folder / "run.json"
    if not file.is_file():
        raise SwiftprofError(f"{folder}: holds no run (no run.json); check the path")
    return validated(kind, read_json_object(file, "run", MAX_BYTES), file, "make it again")


def sweep(folder: Path) -> None:
    """Delete temporary files of processes that were killed, and none that may still be written."""
    with suppress(OSError):
        for each in folder.glob(".*.tmp"):
            if time.time() - each.stat().st_mtime > STALE:
                each.unlink(missing_ok=True)
