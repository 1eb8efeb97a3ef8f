"""The KV cache of a batch of re-runs, laid out once: prompt columns first, then room to decode."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from swiftprof.profiling.record import FULL_LAYERS, Recording


class RowCache:
    """Looks like a Hugging Face cache to attention modules; writes in place.

    Layers 1..FULL_LAYERS hold the vanilla prompt of each row's sample; the others hold the text
    before the image, then the row's own tokens. Finished rows leave through ``keep``.
    """

    def __init__(self, keys: list[Tensor], values: list[Tensor], used: list[int]) -> None:
        self._keys, self._values, self._used = keys, values, used
        self._pending = [0] * len(used)

    @classmethod
    def allocate(
        cls, recording: Recording, sample: Tensor, prefix: Tensor, own: int, new: int
    ) -> RowCache:
        """Room for R rows: ``sample`` (R,), ``prefix`` (B, p) slots, ``own`` and ``new`` tokens.

        Without new tokens nothing will run through the first layers again, and they stay empty.
        """
        rows, used = len(sample), []
        buffers: tuple[list[Tensor], list[Tensor]] = ([], [])
        for i in range(len(recording.keys)):
            full = i < FULL_LAYERS
            if full and not new:
                for out in buffers:
                    out.append(recording.keys[i].new_empty(0))
                used.append(0)
                continue
            filled = recording.valid.shape[1] if full else prefix.shape[1]
            room = filled + (0 if full else own) + new
            for source, out in zip((recording.keys[i], recording.values[i]), buffers, strict=True):
                _, heads, _, size = source.shape
                buffer = source.new_empty(rows, heads, room, size)
                if not full:
                    index = prefix[:, None, :, None].expand(-1, heads, -1, size)
                    source = source.gather(2, index)
                buffer[:, :, :filled] = source[sample]
                out.append(buffer)
            used.append(filled)
        return cls(*buffers, used)

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append (R, KV heads, n, size) to a layer and return all of its columns so far."""
        start = self._used[layer_idx]
        end = start + keys.shape[2]
        self._keys[layer_idx][:, :, start:end] = keys
        self._values[layer_idx][:, :, start:end] = values
        self._pending[layer_idx] = end
        return self._keys[layer_idx][:, :, :end], self._values[layer_idx][:, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._used[layer_idx]

    def advance(self) -> None:
        """Make what was appended since the last call part of the past."""
        self._used = [max(u, p) for u, p in zip(self._used, self._pending, strict=True)]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        for i in range(len(self._keys)):
            end = self._used[i]
            for buffers in (self._keys, self._values):
                old = buffers[i]
                new = old.new_empty(len(rows), *old.shape[1:])
                new[:, :, :end] = old[rows, :, :end] if end else old[rows]
                buffers[i] = new
