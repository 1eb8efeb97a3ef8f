"""Random access to the rows of Arrow files, as ``save_to_disk`` of ``datasets`` writes them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from swiftprof.data.errors import BadSample
from swiftprof.errors import SwiftprofError


class ArrowRows:
    """Rows of several files, numbered through; the files stay on disk (memory-mapped).

    Args:
        files: in order.
        where: their folder, for messages.

    Raises:
        SwiftprofError: no files, or none that can be read.
    """

    def __init__(self, files: Sequence[Path], where: Path) -> None:
        self.where = where
        self._batches: list[pa.RecordBatch] = []
        self._names: list[str] = []
        for file in files:
            try:
                with pa.ipc.open_stream(pa.memory_map(str(file))) as reader:
                    batches = list(reader)
                names = [list(batch.schema.names) for batch in batches]  # may be no text
                self._names = self._names or (names[0] if names else [])
                self._batches += batches
            except (OSError, ValueError, pa.ArrowException) as error:
                first = str(error).splitlines()[0][:100]
                raise SwiftprofError(f"{file}: not a readable Arrow file ({first})") from None
        if not self._batches:
            raise SwiftprofError(f"{where}: has no rows in .arrow files; save the data again")
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))
        self._checked: dict[int, str] = {}

    @property
    def names(self) -> Collection[str]:
        return self._names

    def __len__(self) -> int:
        return self._ends[-1]

    def use(self, columns: Sequence[str]) -> ArrowRows:
        self._batches = [
            batch.select([c for c in columns if c in batch.schema.names]) for batch in self._batches
        ]
        return self

    def row(self, index: int) -> Mapping[str, Any]:
        number = bisect_right(self._ends, index)
        start = self._ends[number - 1] if number else 0
        batch = self._batches[number]
        if problem := self._problem(number):
            raise BadSample(f"its part of the file is damaged ({problem})")
        try:
            row: Mapping[str, Any] = batch.slice(index - start, 1).to_pylist()[0]
        except (ValueError, OverflowError, IndexError, pa.ArrowException) as error:
            raise BadSample(f"cannot be read ({str(error)[:100]})") from None
        return row

    def column(self, name: str) -> Iterable[Any]:
        for number, batch in enumerate(self._batches):
            values: list[Any] = [None] * batch.num_rows
            with suppress(KeyError, ValueError, OverflowError, pa.ArrowException):
                if not self._problem(number):
                    values = batch[name].to_pylist()
            yield from values

    def place(self, index: int) -> str:
        return f"row {index + 1}"

    def _problem(self, number: int) -> str:
        """What is wrong with a batch; offsets that point elsewhere would be read as they are."""
        if number not in self._checked:
            try:
                self._batches[number].validate(full=True)
                self._checked[number] = ""
            except (ValueError, pa.ArrowException) as error:
                self._checked[number] = str(error).splitlines()[0][:100]
        return self._checked[number]
