"""KV caches of rows, laid out once: prompt columns first, then room to decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class RowCache:
    """Looks like a Hugging Face cache to attention modules; writes in place.

    Args:
        rows: R.
        rooms: columns of each layer.
    """

    def __init__(self, rows: int, rooms: Sequence[int]) -> None:
        self._rooms, self._rows = rooms, rows
        self._here = slice(0, rows)
        self._memory: list[list[Tensor | None]] = [[None, None] for _ in rooms]
        self._used, self._pending = [0] * len(rooms), [0] * len(rooms)

    def __getitem__(self, rows: slice) -> RowCache:
        """Some rows, in the same memory."""
        part = object.__new__(RowCache)
        part.__dict__ |= vars(self) | {"_here": rows}
        return part

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append (R, KV heads, n, size) to a layer and return all of its columns so far."""
        start = self._used[layer_idx]
        self._pending[layer_idx] = end = start + keys.shape[2]
        out = []
        for place, new in enumerate((keys, values)):
            held = self._memory[layer_idx][place]
            if held is None:
                shape = self._rows, new.shape[1], self._rooms[layer_idx], new.shape[3]
                held = self._memory[layer_idx][place] = new.new_empty(shape)
            held[self._here, :, start:end] = new
            out.append(held[self._here, :, :end])
        return out[0], out[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._used[layer_idx]

    def advance(self) -> None:
        """Make what was appended since the last call part of the past."""
        self._used[:] = self._pending

    def restart(self, past: Sequence[tuple[Tensor, Tensor]], sample: Tensor) -> RowCache:
        """Rows that begin with the past of their sample, in the same memory.

        Args:
            past: keys and values of the layers, (B, KV heads, n, size), or none where there is no
                room for them.
            sample: which past each row takes, (R,) or fewer.
        """
        out = self[slice(0, len(sample))]
        out._used, out._pending = [0] * len(past), [0] * len(past)
        for i, (keys, values) in enumerate(past):
            if self._rooms[i]:
                out.update(keys[sample], values[sample], i)
        out.advance()
        return out

    def columns(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer's first columns."""
        keys, values = self._memory[layer]
        assert keys is not None
        assert values is not None
        return keys[self._here, :, :end], values[self._here, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (ascending); they move together."""
        for pair, end in zip(self._memory, self._used, strict=True):
            for held in pair:
                if held is not None:
                    held[: len(rows), :, :end] = held[rows, :, :end]
        self._here = slice(0, len(rows))
