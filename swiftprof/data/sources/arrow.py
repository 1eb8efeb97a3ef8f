"""Random access to the rows of Arrow files, as ``save_to_disk`` of ``datasets`` writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from swiftprof.errors import BadSample, SwiftprofError


class ArrowRows:
    """Rows of several files, numbered through; the files stay on disk (memory-mapped).

    Args:
        files: in order.
        where: their folder, for messages.

    Raises:
        SwiftprofError: no files, or some that cannot be read.
    """

    def __init__(self, files: Sequence[Path], where: Path) -> None:
        self.where = where
        try:
            tables = []
            for file in files:
                with pa.ipc.open_stream(pa.memory_map(str(file))) as reader:
                    tables.append(reader.read_all())
            self._table = pa.concat_tables(tables) if tables else pa.table({})
            self.names: list[str] = self._table.column_names  # may be no text
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(error) from None

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def use(self, columns: Sequence[str]) -> ArrowRows:
        self._table = self._table.select(columns)
        try:
            self._table.validate(full=True)  # offsets that point elsewhere would be followed
        except (ValueError, pa.ArrowException) as error:
            raise self._unreadable(error) from None
        return self

    def row(self, index: int) -> Mapping[str, Any]:
        try:
            row: Mapping[str, Any] = self._table.slice(index, 1).to_pylist()[0]
        except (ValueError, OverflowError, IndexError, pa.ArrowException) as error:
            raise BadSample(f"cannot be read ({str(error)[:100]})") from None
        return row

    def column(self, name: str) -> Iterable[Any]:
        for chunk in self._table[name].chunks:
            try:
                yield from chunk.to_pylist()
            except (ValueError, OverflowError, pa.ArrowException):
                yield from [None] * len(chunk)

    def place(self, index: int) -> str:
        return f"row {index + 1}"

    def _unreadable(self, error: Exception) -> SwiftprofError:
        first = (str(error).splitlines() or [type(error).__name__])[0][:100]
        return SwiftprofError(f"{self.where}: not readable as Arrow files ({first})")
