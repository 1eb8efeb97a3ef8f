"""One part: a parquet file that says which samples it holds, under which settings, and that it is
whole.

The stamp stands in the file's own metadata. Its checksum is of the whole file with zeros in the
checksum's place, so that any change to any byte is noticed before a value is believed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftprof.data.asking import Skipped
from swiftprof.data.sources.footer import Footer, check_plain, read_footer
from swiftprof.errors import SwiftprofError
from swiftprof.files import write_atomic

MAX_BYTES = 1 << 26
"""Larger parts are refused unread; a part of a large model has a few MiB."""
MAX_UNPACKED = 1 << 28
MAX_VALUES = 1 << 23
"""Values of one column, nulls included."""
MAX_SAMPLES = 1000
_KEY = b"swiftprof.part"
_ZEROS = "0" * 64


class Damaged(SwiftprofError):
    """A part that is not as it was written; measuring its samples again mends it."""


class Stamp(BaseModel):
    """What a part says of itself.

    Attributes:
        settings: digest of everything that decides its rows.
        indices: number of each row's sample in its split.
        skipped: samples that could not be used.
        sha256: of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: str
    indices: tuple[int, ...] = Field(max_length=MAX_SAMPLES)
    skipped: Annotated[tuple[Skipped, ...], Field(max_length=MAX_SAMPLES)] = ()
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = _ZEROS


@dataclass(frozen=True)
class Part:
    """Rows of some samples, and the samples that could not be used."""

    rows: pa.Table
    stamp: Stamp

    @property
    def held(self) -> set[int]:
        """Samples that need not be measured again."""
        return {*self.stamp.indices, *(each.index for each in self.stamp.skipped)}


def write_part(
    path: Path, schema: pa.Schema, rows: Sequence[Mapping[str, Any]], stamp: Stamp
) -> None:
    """Write a part whole or not at all. Raises SwiftprofError where that fails."""
    try:
        table = pa.Table.from_pylist([_printable(row) for row in rows], schema)
        out = io.BytesIO()
        # No dictionaries: what a reader unpacks is then no larger than the file says.
        with pq.ParquetWriter(
            out,
            schema,
            compression="zstd",
            compression_level=9,
            use_dictionary=False,
            store_schema=False,
        ) as writer:
            writer.write_table(table)
            blank = stamp.model_copy(update={"sha256": _ZEROS})
            writer.add_key_value_metadata({_KEY: json.dumps(_printable(blank.model_dump()))})
        raw = out.getvalue()
        digest = hashlib.sha256(raw).hexdigest()
        raw = _with_sum(raw, _ZEROS, digest)
        write_atomic(path, lambda temporary: temporary.write_bytes(raw))
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or str(error) or "out of memory"
        raise SwiftprofError(
            f"{path}: cannot write this part: {why}; finished parts are kept, make room and run "
            "the same command again"
        ) from error


def read_part(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> Part:
    """A part that may come from anyone.

    Args:
        schema: columns that must be there, with their types.
        columns: only these.

    Raises:
        Damaged: missing, not a part, changed since it was written, or larger than a part can be.
    """
    try:
        if not path.is_file():
            raise Damaged(f"{path}: no such part; run the command that made it again")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise _damaged(path, f"larger than {MAX_BYTES >> 20} MiB")
        footer = read_footer(io.BytesIO(raw))
        stamp = _stamp(path, raw, footer)
        _check_size(path, raw, footer)
        with pq.ParquetFile(pa.BufferReader(raw), pre_buffer=False) as parquet:
            found = parquet.schema_arrow
            for field in schema:
                if field.name not in found.names or found.field(field.name).type != field.type:
                    raise _damaged(path, f"column {field.name} is not there as {field.type}")
            wanted = list(schema.names if columns is None else columns)
            rows = parquet.read(wanted, use_threads=False).select(wanted)
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise _damaged(path, str(error)) from error
    if rows.num_rows != len(stamp.indices):
        raise _damaged(path, f"{rows.num_rows} rows of {len(stamp.indices)} samples")
    return Part(rows, stamp)


def _stamp(path: Path, raw: bytes, footer: Footer) -> Stamp:
    text = footer.notes.get(_KEY)
    if text is None:
        raise _damaged(path, "it does not say what it holds")
    try:
        stamp = Stamp.model_validate_json(text)
    except ValidationError:
        raise _damaged(path, "what it says of itself cannot be read") from None
    blank = _with_sum(raw, stamp.sha256, _ZEROS)
    if hashlib.sha256(blank).hexdigest() != stamp.sha256:
        raise _damaged(path, "its checksum is not that of its data")
    return stamp


def _with_sum(raw: bytes, old: str, new: str) -> bytes:
    """The file with another checksum; it stands in the footer, so its last place is meant."""
    before, _, after = raw.rpartition(old.encode())
    return before + new.encode() + after


def _check_size(path: Path, raw: bytes, footer: Footer) -> None:
    """Refuse what would unpack to more than a part can hold; its checksum may be a forger's."""
    count = sum(rows for rows, _ in footer.groups)
    if min((rows for rows, _ in footer.groups), default=0) < 0 or count > MAX_SAMPLES:
        raise _damaged(path, f"{count} rows are no part")
    size = 0
    for chunk in chain.from_iterable(chunks for _, chunks in footer.groups):
        check_plain(raw, chunk)
        size += chunk.unpacked
        if chunk.values > MAX_VALUES or size > MAX_UNPACKED:
            raise _damaged(path, "more values than a part has")


def _printable(value: Any) -> Any:
    """Text that UTF-8 can hold: halves of characters become question marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {key: _printable(each) for key, each in value.items()}
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float | list):
        return [_printable(each) for each in value]
    return value


def _damaged(path: Path, why: str) -> Damaged:
    first = (why.splitlines() or ["damaged"])[0][:200]
    return Damaged(f"{path}: not a readable part ({first}); run the command that made it again")
