"""What a parquet file says of the sizes of its columns, in its footer and in front of its pages.

Read here and not through pyarrow: on some damaged footers pyarrow's metadata ends the process
instead of raising an error (a size statistic under a type that has none, for one), and it believes
pages of which the footer says nothing. Structs are those of ``parquet.thrift``, in Thrift's compact
protocol.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_FOOTER = 64 << 20
MAX_DEPTH = 24
_BYTE_ARRAY = 6
_ROW_GROUPS, _NOTES = 4, 5
_COLUMNS, _ROWS, _META_DATA = 1, 3, 3
_TYPE, _PATH, _VALUES, _UNPACKED, _PACKED, _DATA, _DICTIONARY = 1, 3, 5, 6, 7, 9, 11
_PAGE_KIND, _PAGE_UNPACKED, _PAGE_PACKED, _PAGE_HEAD = 1, 2, 3, 5
_PLAIN = 0


@dataclass(frozen=True)
class Chunk:
    """One column in one row group.

    Attributes:
        path: names from the top to the leaf, joined by dots.
        texts: its values are texts or bytes of any length.
        values: how many there are, nulls included.
        packed, unpacked: bytes on disk and in memory, as they are encoded.
        start: of its first page, in bytes from the start of the file.
    """

    path: str
    texts: bool
    values: int
    packed: int
    unpacked: int
    start: int


@dataclass(frozen=True)
class Footer:
    """Rows and chunks of every row group, and what its writer noted in the file."""

    groups: list[tuple[int, list[Chunk]]]
    notes: dict[bytes, bytes]


def read_footer(file: BinaryIO) -> Footer:
    """The footer of an open file.

    Raises:
        ValueError: no footer, or a damaged one.
        OSError: the file cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or not 0 < length <= min(MAX_FOOTER, size - 12):
        raise ValueError("has no parquet footer")
    file.seek(size - 8 - length)
    document = _Thrift(file.read(length)).struct()
    try:
        groups = [
            (int(group[_ROWS]), [_chunk(column[_META_DATA]) for column in group[_COLUMNS]])
            for group in document.get(_ROW_GROUPS, [])
        ]
        return Footer(groups, {note[1]: note.get(2, b"") for note in document.get(_NOTES, [])})
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"its footer is damaged ({type(error).__name__})") from None


def check_plain(raw: bytes, chunk: Chunk) -> None:
    """Walk a chunk's pages: all plain, so that values take the bytes that the footer promises.

    Raises:
        ValueError: pages of another kind, or other sizes than the footer's.
    """
    at, end, values, unpacked = chunk.start, chunk.start + chunk.packed, 0, 0
    while 0 < at < end <= len(raw):
        head = _Thrift(raw, at)
        page = head.struct()
        try:
            count, encoding = page[_PAGE_HEAD][1], page[_PAGE_HEAD][2]
            size, at = page[_PAGE_UNPACKED], head.at + page[_PAGE_PACKED]
        except (LookupError, TypeError):
            raise ValueError("packed as no part is") from None
        if page.get(_PAGE_KIND) != 0 or encoding != _PLAIN or min(count, size) < 0:
            raise ValueError("packed as no part is")
        values, unpacked = values + count, unpacked + size
    if at != end or values != chunk.values or not 0 <= unpacked <= chunk.unpacked:
        raise ValueError(f"column {chunk.path[:60]} is not of the size that it promises")


def _chunk(data: dict[int, Any]) -> Chunk:
    path = ".".join(name.decode("utf-8", "replace") for name in data[_PATH])
    values, packed, unpacked = (int(data[field]) for field in (_VALUES, _PACKED, _UNPACKED))
    start = min(int(data[_DATA]), int(data.get(_DICTIONARY) or data[_DATA]))
    return Chunk(path, data[_TYPE] == _BYTE_ARRAY, values, packed, unpacked, start)


class _Thrift:
    """Thrift's compact protocol: structs as dictionaries from field numbers to values."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

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
        part = self._data[self.at : self.at + count]
        if len(part) < count:
            raise ValueError("its footer is cut short")
        self.at += count
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
