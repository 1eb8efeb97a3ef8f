"""What a parquet file's footer says of the sizes of its columns.

Read here and not through pyarrow: on some damaged footers pyarrow's metadata ends the process
instead of raising an error (a size statistic under a type that has none, for one). The footer is a
`FileMetaData` of parquet's ``parquet.thrift``, in Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_FOOTER = 64 << 20
MAX_DEPTH = 24
_BYTE_ARRAY = 6
_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_TYPE, _PATH, _VALUES, _UNPACKED, _PACKED = 1, 3, 5, 6, 7


@dataclass(frozen=True)
class Chunk:
    """One column in one row group.

    Attributes:
        path: names from the top to the leaf, joined by dots.
        texts: its values are texts or bytes of any length.
        values: how many there are, nulls included.
        packed, unpacked: bytes on disk and in memory, as they are encoded.
    """

    path: str
    texts: bool
    values: int
    packed: int
    unpacked: int


def read_footer(path: Path | str) -> list[list[Chunk]]:
    """The chunks of every row group.

    Raises:
        ValueError: no footer, or a damaged one.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != b"PAR1" or not 0 < length <= min(MAX_FOOTER, size - 12):
            raise ValueError("has no parquet footer")
        file.seek(size - 8 - length)
        document = _Thrift(file.read(length)).struct()
    try:
        return [
            [_chunk(column[_META_DATA]) for column in group[_COLUMNS]]
            for group in document.get(_ROW_GROUPS, [])
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"its footer is damaged ({type(error).__name__})") from None


def _chunk(data: dict[int, Any]) -> Chunk:
    path = ".".join(name.decode("utf-8", "replace") for name in data[_PATH])
    sizes = [int(data[field]) for field in (_VALUES, _PACKED, _UNPACKED)]
    return Chunk(path, data[_TYPE] == _BYTE_ARRAY, *sizes)


class _Thrift:
    """Thrift's compact protocol: structs as dictionaries from field numbers to values."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > MAX_DEPTH:
            raise ValueError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:  # true, false: in the field's head
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._unsigned())
            case 9 | 10:
                return list(self._items(depth))
            case 12:
                return self.struct(depth + 1)
        raise ValueError(f"its footer holds a value of kind {kind}")

    def _items(self, depth: int) -> Iterator[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        if count > len(self._data):
            raise ValueError("its footer promises more than it holds")
        for _ in range(count):  # a truth value takes a byte of its own here
            yield self._byte() == 1 if head & 15 in (1, 2) else self._value(head & 15, depth + 1)

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise ValueError("its footer is cut short")
        self._at += count
        return part

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("its footer holds a number without an end")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
