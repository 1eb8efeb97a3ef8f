"""Own data as a table with random access, whatever they are written in.

Texts (JSON, JSON Lines, CSV, TSV, also gzipped) are read whole, parquet and Arrow files row by row.
A row that cannot be read is a `BadSample`; a file that cannot is an error.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.ipc

from swiftprof.data.own.naming import HUB, SUFFIXES, OwnName
from swiftprof.data.own.values import from_cell
from swiftprof.data.sources.find import Found, Part, find
from swiftprof.data.sources.parquet import Rows
from swiftprof.errors import BadSample, SwiftprofError

ALL = "all"
"""The one split of data that have no splits."""
MAX_LINE = 64 << 20
MAX_UNPACKED = 400 << 20
"""Bytes of a gzipped file's content; more could be a bomb."""
LOOKED_AT = 1000
"""Rows whose keys are the columns of data without a header."""


class Table(Protocol):
    """Rows by number, each a mapping from columns to values."""

    @property
    def names(self) -> Collection[str]:
        """Its columns."""

    def __len__(self) -> int: ...

    def use(self, columns: Sequence[str]) -> Table:
        """The same table, of which only some columns are ever read."""

    def row(self, index: int) -> Mapping[str, Any]:
        """Raises BadSample."""

    def column(self, name: str) -> Iterable[Any]:
        """The values of one column in all rows, None where a row cannot be read."""

    def place(self, index: int) -> str:
        """Where a row is, for messages."""


def open_tables(own: OwnName, data_root: Path | None) -> dict[str, Table]:
    """Split → table; `ALL` where there are no splits.

    Raises:
        SwiftprofError: no such data, another format, no rows, a split that does not exist.
    """
    if own.on_hub:
        return _hub(own, data_root)
    path, wanted = own.path, own.settings.get("split")
    tables = _folder(path) if path.is_dir() else {ALL: _file(path)}
    if wanted is not None:
        if wanted not in tables:
            raise SwiftprofError(f"{path}: has no split {wanted!r}, but {', '.join(tables)}")
        tables = {wanted: tables[wanted]}
    for split, table in tables.items():
        if not len(table):
            raise SwiftprofError(f"{path}: holds no rows{'' if split == ALL else f' of {split}'}")
    return tables


class Listed:
    """Rows that are in memory.

    Args:
        read: makes a row of an item; raises BadSample.
        unit: what an item is called in messages.
        numbers: where each was written; counted from 1 without.
        names: its columns; the keys of the first rows without.
    """

    def __init__(
        self,
        items: Sequence[Any],
        read: Callable[[Any], Mapping[str, Any]],
        unit: str,
        numbers: Sequence[int] | None = None,
        names: Collection[str] | None = None,
    ) -> None:
        self._items, self._read, self._unit, self._numbers = items, read, unit, numbers
        self.names: Collection[str] = self._keys() if names is None else names

    def __len__(self) -> int:
        return len(self._items)

    def use(self, columns: Sequence[str]) -> Listed:
        return self

    def row(self, index: int) -> Mapping[str, Any]:
        return self._read(self._items[index])

    def column(self, name: str) -> Iterable[Any]:
        for item in self._items:
            try:
                yield self._read(item).get(name)
            except BadSample:
                yield None

    def place(self, index: int) -> str:
        number = index + 1 if self._numbers is None else self._numbers[index]
        return f"{self._unit} {number}"

    def _keys(self) -> set[str]:
        keys: set[str] = set()
        for item in self._items[:LOOKED_AT]:
            try:
                keys |= {key for key in self._read(item) if isinstance(key, str)}
            except BadSample:
                continue
        return keys


class ArrowTable(Listed):
    """Rows that are in Arrow's memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        super().__init__(range(len(table)), self._read_row, "row", names=table.column_names)

    def use(self, columns: Sequence[str]) -> ArrowTable:
        return ArrowTable(self._table.select(columns))

    def _read_row(self, index: int) -> Mapping[str, Any]:
        try:
            row: Mapping[str, Any] = self._table.slice(index, 1).to_pylist()[0]
        except (ValueError, OverflowError, IndexError, pa.ArrowException) as error:
            raise BadSample(f"cannot be read ({str(error)[:100]})") from None
        return row


def _saved(path: Path) -> ArrowTable:
    """What ``save_to_disk`` wrote; it stays on disk (memory-mapped)."""
    try:
        tables = []
        for file in sorted(path.glob("*.arrow")):
            with pa.ipc.open_stream(pa.memory_map(str(file))) as reader:
                tables.append(reader.read_all())
        table = pa.concat_tables(tables) if tables else pa.table({})
        table.validate(full=True)  # offsets that point elsewhere would be followed
        return ArrowTable(table)
    except (OSError, ValueError, pa.ArrowException) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise SwiftprofError(f"{path}: not readable as Arrow files ({first})") from None


def _file(path: Path) -> Table:
    if not path.is_file():
        raise SwiftprofError(
            f"{path}: no such file; give a file, a folder, hub:org/name:split, or a name from "
            "swiftprof datasets"
        )
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind == ".parquet":
        return Rows(Found((str(path),), path.name), path.name, ())
    if kind in (".jsonl", ".ndjson"):
        lines = [(n, t) for n, t in enumerate(_text(path).split("\n"), 1) if t.strip()]
        return _some(Listed([t for _, t in lines], _line, "line", [n for n, _ in lines]), path)
    if kind == ".json":
        return _some(Listed(_array(path), _object, "item"), path)
    if kind in (".csv", ".tsv"):
        return _table(path, "," if kind == ".csv" else "\t")
    raise SwiftprofError(
        f"{path}: data come as {', '.join(SUFFIXES)} or a folder, not {kind or 'without an ending'}"
    )


def _some(table: Listed, path: Path) -> Listed:
    if len(table) and not table.names:
        raise SwiftprofError(f"{path}: none of its rows is a JSON object {{…}}")
    return table


def _text(path: Path) -> str:
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as packed:
                raw = packed.read(MAX_UNPACKED + 1)
            if len(raw) > MAX_UNPACKED:
                raise SwiftprofError(
                    f"{path}: more than {MAX_UNPACKED >> 20} MiB unpacked; unpack it with gunzip"
                )
        else:
            raw = path.read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SwiftprofError(f"{path}: not a text file in UTF-8; write it again") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SwiftprofError(f"{path}: cannot read ({str(error)[:100]})") from None


def _line(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_LINE:
        raise BadSample(f"the line is longer than {MAX_LINE >> 20} MiB")
    try:
        return _object(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise BadSample(f"not a line of JSON ({str(error)[:100]})") from None


def _object(item: Any) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise BadSample("holds no JSON object {…}")
    return item


def _array(path: Path) -> list[Any]:
    """The list that a JSON file is, or the only list of objects that its object has."""
    try:
        document = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise SwiftprofError(f"{path}: not valid JSON ({str(error)[:100]})") from None
    if isinstance(document, Mapping):
        lists = [v for v in document.values() if isinstance(v, list) and v and _all_objects(v)]
        if len(lists) != 1:
            raise SwiftprofError(f"{path}: is an object with {len(lists)} lists of rows, not one")
        document = lists[0]
    if not isinstance(document, list):
        raise SwiftprofError(f"{path}: must be a list of rows [{{…}}, …]")
    return document


def _all_objects(values: list[Any]) -> bool:
    return all(isinstance(value, Mapping) for value in values[:LOOKED_AT])


def _table(path: Path, delimiter: str) -> Listed:
    text = _text(path)
    limit = csv.field_size_limit(MAX_LINE)  # images in base64 are longer than its default
    try:
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=delimiter) if line]
    except csv.Error as error:
        raise SwiftprofError(f"{path}: not a readable table ({error})") from None
    finally:
        csv.field_size_limit(limit)
    header = [name.strip() for name in lines[0]] if lines else []
    if len(set(header)) != len(header):
        raise SwiftprofError(f"{path}: its first line names a column twice")

    def row(cells: list[str]) -> Mapping[str, Any]:
        if len(cells) != len(header):
            raise BadSample(f"{len(cells)} cells under {len(header)} columns")
        return {name: from_cell(cell) for name, cell in zip(header, cells, strict=True)}

    return Listed(lines[1:], row, "row", names=header)


def _folder(path: Path) -> dict[str, Table]:
    """What ``save_to_disk`` of ``datasets`` left, with or without splits, or parquet files."""
    if (path / "dataset_dict.json").is_file():
        splits = sorted(p.parent.name for p in path.glob("*/state.json"))
        return {split: _folder(path / split)[ALL] for split in splits}
    if (path / "state.json").is_file():
        return {ALL: _saved(path)}
    files = sorted(str(file) for file in path.glob("*.parquet"))
    if files:
        return {ALL: Rows(Found(tuple(files), path.name), path.name, ())}
    raise SwiftprofError(
        f"{path}: is a folder without data: neither save_to_disk's nor with parquet files in it"
    )


def _hub(own: OwnName, data_root: Path | None) -> dict[str, Table]:
    place, _, split = own.place.removeprefix(HUB).partition(":")
    owner, _, rest = place.partition("/")
    name, _, config = rest.partition("/")
    split = split or own.settings.get("split", "")
    if not (owner and name and split):
        raise SwiftprofError(f"{own.place[:100]}: must be hub:org/name:split")
    part = Part((f"{owner}/{name}",), split, (), config or None, in_part=True)
    return {split: Rows(find(part, own.place, data_root), own.place, (), in_part=True)}
