"""Rows of a user's own file: JSON Lines, where a broken line is a broken sample, or parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftprof.data.errors import BadSample
from swiftprof.data.sources.find import Found
from swiftprof.data.sources.parquet import Rows
from swiftprof.errors import SwiftprofError

SUFFIXES = (".jsonl", ".parquet")
MAX_LINE = 4 << 20


class JsonLines:
    """Rows of a JSON Lines file; a broken line is a broken sample."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = _lines(path)

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, index: int) -> str:
        return f"line {self.lines[index][0]}"

    def row(self, index: int) -> Mapping[str, Any]:
        line = self.lines[index][1]
        if len(line) > MAX_LINE:
            raise BadSample(f"the line is longer than {MAX_LINE >> 20} MiB")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadSample(f"not a line of JSON ({error})") from None
        if not isinstance(row, dict):
            raise BadSample("the line holds no JSON object {…}")
        return row

    def columns(self) -> tuple[set[str], Mapping[str, Any]]:
        """Names that any row has, and the first row that can be read."""
        names: set[str] = set()
        first: Mapping[str, Any] | None = None
        for index in range(len(self)):
            try:
                row = self.row(index)
            except BadSample:
                continue
            names |= set(row)
            first = row if first is None else first
        if first is None:
            raise SwiftprofError(f"{self.path}: none of its lines is a JSON object {{…}}")
        return names, first


class ParquetFile:
    """Rows of a parquet file."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            names = pq.ParquetFile(path).schema_arrow.names
        except (OSError, pa.ArrowException) as error:
            first = str(error).splitlines()[0]
            raise SwiftprofError(f"{path}: not a readable parquet file ({first})") from None
        self.names = names
        self.rows = Rows(Found((str(path),), path.name), path.name, names)

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, index: int) -> str:
        return f"row {index + 1}"

    def row(self, index: int) -> Mapping[str, Any]:
        return self.rows.row(index)

    def columns(self) -> tuple[set[str], Mapping[str, Any]]:
        return set(self.names), self.rows.row(0)


def open_rows(path: Path) -> JsonLines | ParquetFile:
    """Raises SwiftprofError: no such file, another format, no rows."""
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "no such file"
        raise SwiftprofError(
            f"{path}: {kind}; give a .jsonl or .parquet file, or a name from swiftprof datasets"
        )
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SwiftprofError(
            f"{path}: data comes as {' or '.join(SUFFIXES)}, not {suffix or 'without an ending'}"
        )
    rows = JsonLines(path) if suffix == ".jsonl" else ParquetFile(path)
    if not len(rows):
        raise SwiftprofError(f"{path}: holds no rows")
    return rows


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers, from 1."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SwiftprofError(f"{path}: not a text file in UTF-8; write it again") from None
    except OSError as error:
        raise SwiftprofError(f"{path}: cannot read: {error.strerror or error}") from error
    return [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]


def digest(path: Path) -> str:
    """Short name of a file's content."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()[:16]
