"""Random access to the rows of parquet files, local or on the Hub.

Only the columns asked for are read, and only the row group that holds a row. Row groups that come
over the network are kept on disk, so a draw is paid for once and works without a network later.

A file may come from anyone: a row that cannot be read is a `BadSample`, and what a row group would
take in memory is judged first. A column that says one text a million times is small on disk; it is
read as a dictionary, so it stays small.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swiftprof.data.sources.find import Found
from swiftprof.data.sources.footer import read_footer
from swiftprof.errors import BadSample, SwiftprofError, did_you_mean
from swiftprof.files import write_atomic, write_text_atomic

HELD = 2
"""Row groups held in memory."""
MAX_VALUES = 1 << 24
"""Values of one column in a row group."""
MAX_RATIO = 200
"""Bytes of a row group in memory for one on disk, where that makes more than `UNSUSPICIOUS`."""
UNSUSPICIOUS = 1 << 26
REMOTE = "hf://"


class Rows:
    """Rows of several parquet files, numbered through.

    Args:
        where: name of the data set and split, for messages.
        columns: those that are needed; a file that lacks one is refused.
        in_part: read row groups over the network; else whole files go to the Hub's cache first.
    """

    def __init__(
        self, found: Found, where: str, columns: Sequence[str], *, in_part: bool = False
    ) -> None:
        self.found = found
        self.where = where
        self.columns = tuple(columns)
        self.in_part = in_part
        self._open_files: dict[int, pq.ParquetFile] = {}
        self._held: OrderedDict[int, pa.Table] = OrderedDict()
        self._damaged: dict[int, str] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def names(self) -> list[str]:
        """All columns of the first file."""
        return list(self._file(0).schema_arrow.names)

    def use(self, columns: Sequence[str]) -> Rows:
        """The same rows with other columns."""
        return Rows(self.found, self.where, columns, in_part=self.in_part)

    def place(self, index: int) -> str:
        return f"row {index + 1}"

    def row(self, index: int) -> dict[str, Any]:
        """One row as Python values. Raises BadSample where it is damaged in a local file."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.where} has {len(self)} rows, no number {index}")
        group = bisect_right(self._ends, index)
        start = self._ends[group - 1] if group else 0
        if group in self._damaged:
            raise BadSample(self._damaged[group])
        try:
            rows: list[dict[str, Any]] = self._group(group).slice(index - start, 1).to_pylist()
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise BadSample(f"cannot be read ({str(error)[:100]})") from None
        except SwiftprofError as error:
            if self.found.files[self._groups[group][0]].startswith(REMOTE):
                raise  # the network's trouble; the rows may be whole
            self._damaged[group] = str(error)
            raise BadSample(str(error)) from None
        return rows[0]

    def column(self, name: str) -> list[Any]:
        """One whole column as Python values."""
        kept = self._kept(f"column-{name}.parquet")
        if kept is not None and kept.is_file():
            return _values(pq.read_table(kept, partitioning=None)[name])
        tables = [self._read(file, group, [name]) for file, group, _ in self._groups]
        try:
            values = [value for table in tables for value in _values(table[name])]
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise self._unreadable(0, error) from None
        if kept is not None and tables:
            _keep(pa.concat_tables(tables), kept)
        return values

    def _kept(self, name: str) -> Path | None:
        """Where something read over the network is kept; None where files are local or whole."""
        return self.found.cache / name if self.in_part and self.found.cache is not None else None

    @cached_property
    def _groups(self) -> list[tuple[int, int, int]]:
        """(file, group in the file, rows) of every row group."""
        note = self._kept("groups.json")
        if note is not None:
            with suppress(OSError, ValueError, TypeError):
                return [(int(f), int(g), int(n)) for f, g, n in json.loads(note.read_text())]
        out = []
        for i in range(len(self.found.files)):
            meta = self._file(i).metadata
            out += [(i, g, meta.row_group(g).num_rows) for g in range(meta.num_row_groups)]
        if note is not None:
            write_text_atomic(note, json.dumps(out) + "\n")
        return out

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(n for _, _, n in self._groups))

    def _group(self, number: int) -> pa.Table:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        file, group, rows = self._groups[number]
        kept = self._kept(f"group-{number:06d}.parquet")
        table = None
        if kept is not None and kept.is_file():
            with suppress(OSError, pa.ArrowException, KeyError):  # damaged: read it again
                table = pq.read_table(kept, columns=list(self.columns), partitioning=None)
        if table is None:
            table = self._read(file, group, list(self.columns))
            if self.columns and len(table) != rows:
                lie = ValueError(f"it promises {rows} rows where there are {len(table)}")
                raise self._unreadable(file, lie)
            if kept is not None:
                _keep(table, kept)
        self._held[number] = table
        while len(self._held) > HELD:
            self._held.popitem(last=False)
        return table

    def _read(self, file: int, group: int, columns: list[str]) -> pa.Table:
        opened = self._file(file)
        try:
            try:
                return opened.read_row_group(group, columns=columns)
            except pa.ArrowNotImplementedError:  # lists whose texts are a dictionary only in part
                plain = pq.ParquetFile(self._source(self.found.files[file]))
                return plain.read_row_group(group, columns=columns)
        except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
            raise self._unreadable(file, error) from error

    def _file(self, number: int) -> pq.ParquetFile:
        if number in self._open_files:
            return self._open_files[number]
        address = self.found.files[number]
        try:
            source = self._source(address)
            repeated = self._judged(number, source) if isinstance(source, str) else None
            opened = pq.ParquetFile(source, pre_buffer=True, read_dictionary=repeated)
        except SwiftprofError:
            raise
        except Exception as error:  # pyarrow's, the file system's and the HTTP library's kinds
            raise self._unreadable(number, error) from error
        there = opened.schema_arrow.names
        for column in self.columns:
            if column not in there:
                raise SwiftprofError(
                    f"data set {self.where}: {address}: column {column!r} is missing "
                    f"({did_you_mean(column, there)}); the columns are {', '.join(there)}"
                )
        self._open_files[number] = opened
        return opened

    def _judged(self, number: int, path: str) -> list[str]:
        """Columns of texts to be read as dictionaries. Raises SwiftprofError for a bomb."""
        texts: dict[str, int] = {}
        with open(path, "rb") as file:
            footer = read_footer(file)
        for chunk in chain.from_iterable(chunks for _, chunks in footer.groups):
            if chunk.path.partition(".")[0] not in self.columns:
                continue
            swells = chunk.unpacked > max(UNSUSPICIOUS, MAX_RATIO * chunk.packed)
            if chunk.values > MAX_VALUES or swells:
                raise SwiftprofError(
                    f"data set {self.where}: {self.found.files[number]}: column {chunk.path[:60]} "
                    "would take too much memory; write the file again with smaller row groups"
                )
            if chunk.texts:
                texts[chunk.path] = max(texts.get(chunk.path, 0), chunk.unpacked)
        return [path for path, size in texts.items() if size <= UNSUSPICIOUS >> 6 * ("." in path)]

    def _source(self, address: str) -> Any:
        if not address.startswith(REMOTE):
            return address
        if self.in_part:
            from huggingface_hub import HfFileSystem

            # exact ranges: pyarrow gathers what it needs, and reading ahead would fetch much more
            return HfFileSystem().open(address, "rb", cache_type="none")
        from huggingface_hub import hf_hub_download

        repository, _, path = address.removeprefix(REMOTE + "datasets/").partition("@")
        revision, _, path = path.partition("/")
        return hf_hub_download(repository, path, repo_type="dataset", revision=revision)

    def _unreadable(self, number: int, error: Exception) -> SwiftprofError:
        address = self.found.files[number]
        lines = str(error).strip().splitlines()
        first = lines[0] if lines else type(error).__name__
        advice = (
            "check the network and run the same command again; what is finished is kept"
            if address.startswith(REMOTE)
            else "it is damaged or no parquet file; fetch or write it again"
        )
        return SwiftprofError(f"data set {self.where}: {address}: cannot read ({first}); {advice}")


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values; equal texts of a dictionary are one object."""
    values: list[Any] = []
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray):
            words = chunk.dictionary.to_pylist()
            values += [None if i is None else words[i] for i in chunk.indices.to_pylist()]
        else:
            values += chunk.to_pylist()
    return values


def _keep(table: pa.Table, path: Path) -> None:
    with suppress(OSError):  # a full disk costs the next run time, and this one nothing
        write_atomic(path, lambda partial: pq.write_table(table, partial))
