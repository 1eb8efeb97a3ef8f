"""The KV caches of re-runs, laid out once: prompt columns first, then room to decode.

One piece of memory serves one group of re-runs after the other. Its size comes from the cache of
the vanilla run, so that profiling needs little more memory than generating with the same batch.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from swiftprof.core.stages import BASE_LAYER
from swiftprof.models.memory import RERUN_CACHE
from swiftprof.profiling.record import Recording


class RowMemory:
    """Room for the caches of some re-runs.

    Without new tokens nothing runs through the first layers again, and they get no room.

    Args:
        recording: the vanilla run of their samples.
        own: most tokens of a re-run behind the text before the image.
        new: tokens that will be decoded.
        most: re-runs at once, where memory allows.
    """

    def __init__(self, recording: Recording, own: int, new: int, most: int) -> None:
        self._recording, self._own, self._new = recording, own, new
        row = sum(self._numbers(i) for i in range(len(recording.keys)))
        held = sum(each.numel() for each in [*recording.keys, *recording.values])
        free = int(RERUN_CACHE * recording.cache_numbers) - held
        self.rows = max(1, min(most, free // row))
        self._memory = [
            [source.new_empty(self.rows * self._numbers(i) // 2) for source in pair]
            for i, pair in enumerate(zip(recording.keys, recording.values, strict=True))
        ]

    def _room(self, layer: int, own: int) -> int:
        """Columns of a layer."""
        if layer < BASE_LAYER and not self._new:
            return 0
        filled = self._recording.keys[layer].shape[2]
        return filled + (0 if layer < BASE_LAYER else own) + self._new

    def _numbers(self, layer: int) -> int:
        """Numbers of one row in a layer, keys and values."""
        _, heads, _, size = self._recording.keys[layer].shape
        return 2 * heads * size * self._room(layer, self._own)

    def cache(self, sample: Tensor, own: int) -> RowCache:
        """Cache of at most ``rows`` re-runs: ``sample`` (R,), ``own`` tokens each.

        Holds the text before the image, in the first layers the whole prompt. The cache that was
        made before is overwritten.
        """
        keys: list[Tensor] = []
        values: list[Tensor] = []
        used: list[int] = []
        recording = self._recording
        for i, memory in enumerate(self._memory):
            room = self._room(i, own)
            sources = recording.keys[i], recording.values[i]
            filled = sources[0].shape[2] if room else 0
            for source, flat, buffers in zip(sources, memory, (keys, values), strict=True):
                _, heads, _, size = source.shape
                count = len(sample) * heads * room * size
                buffer = flat[:count].view(len(sample), heads, room, size)
                buffer[:, :, :filled] = source[sample, :, :filled]
                buffers.append(buffer)
            used.append(filled)
        return RowCache(keys, values, used)


class RowCache:
    """Looks like a Hugging Face cache to attention modules; writes in place.

    Layers 1..BASE_LAYER hold the vanilla prompt of each row's sample; the others hold the text
    before the image, then the row's own tokens. Finished rows leave through ``keep``.
    """

    def __init__(self, keys: list[Tensor], values: list[Tensor], used: list[int]) -> None:
        self._keys, self._values, self._used = keys, values, used
        self._pending = list(used)

    def __getitem__(self, rows: slice) -> RowCache:
        """Some rows, in the same memory."""
        keys, values = ([b[rows] for b in each] for each in (self._keys, self._values))
        part = RowCache(keys, values, self._used)
        part._pending = self._pending
        return part

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
        self._used = list(self._pending)

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (ascending); they move together."""
        for buffers in (self._keys, self._values):
            for i, (buffer, end) in enumerate(zip(buffers, self._used, strict=True)):
                buffer[: len(rows), :, :end] = buffer[rows, :, :end]
                buffers[i] = buffer[: len(rows)]
