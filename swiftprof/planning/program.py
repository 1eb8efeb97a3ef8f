"""The dynamic program that chooses pruning layers (paper eq. 4-9).

Choose layers 3 <= i_1 < … < i_k <= L, k <= m, with x_2 < x_{i_1} < … < x_{i_k}, that maximise

    U = sum_k x_{i_k} (i_{k+1} - i_k),   i_0 = 2, i_{k+1} = L,        P = U / (L - 2)

which is x_2 (L - 2) plus a gain (x_{i_k} - x_{i_{k-1}}) (L - i_k) for each chosen layer. Layer L
gains nothing and is never chosen. An optimum needs only records, layers better than every earlier
one: an earlier layer that is as good is at least as good a choice. So the program runs on the few
records.

The runtime cuts after the first layer but before the second, so the second must be at least two
layers on, or both would cut at the same place. That rule makes one kind of non-record useful: where
two records are neighbours and the first of them is taken, the second is out of reach, and layers
that only it had beaten may follow. They are kept beside the records, and the optimum stays exact.

Ties: of plans with equal U the one with the earlier first layer, then second layer, and so on; an
earlier layer reaches the same capability sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from swiftprof.core.stages import BASE_LAYER
from swiftprof.errors import BadParameter
from swiftprof.planning.curve import Curve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK_CELLS = 1 << 18
"""Cells of the (batch, i, j) table worked on at a time: 2 MB of float64, which stays in the cache.
"""
_TIE = 1e-12
"""Areas that differ by less, relative to their size, are equal: only rounding tells them apart."""


@dataclass(frozen=True)
class Solution:
    """The best layers of one curve.

    Attributes:
        layers: chosen layers, 1-based, increasing; empty where no layer beats layer 2.
        area: U.
        performance: P = U / (L - 2), the mean capability over layers 2..L.
        warning: why there are fewer layers than asked for, or None.
    """

    layers: tuple[int, ...]
    area: float
    performance: float
    warning: str | None


@dataclass(frozen=True)
class Solutions:
    """The best layers of B curves, for every budget up to the one asked for.

    Values are kept and choices made from them when layers are asked for: finding the maximum is
    much cheaper than finding its place, and only one path per curve is ever needed.

    Attributes:
        base: x_2 (L - 2) of each curve, shape (B,).
        candidates: layers the program ran on, shape (B, C); 0 is padding.
        gain: best gain with at most k + 1 layers, shape (K, B).
        first: candidate chosen first with a budget of k + 1, shape (K, B); -1 where none gains.
        values: capability of the candidates, shape (B, C).
        later: best gain behind a later candidate when k more layers may be chosen, (K - 1, B, C).
        tie: areas of a curve that differ by less are equal, shape (B,).
        num_layers: L.
        separate: the second layer stays at least two after the first.
    """

    base: Floats
    candidates: Ints
    gain: Floats
    first: Ints
    values: Floats
    later: Floats
    tie: Floats
    num_layers: int
    separate: bool

    def area(self, budget: int) -> Floats:
        """Best U with at most `budget` layers, shape (B,)."""
        best: Floats = self.base + self.gain[self._row(budget)]
        return best

    def layers(self, budget: int) -> Ints:
        """Chosen layers, shape (B, budget), increasing, filled with 0 behind the last."""
        row = self._row(budget)
        chosen = np.zeros((len(self.base), budget), dtype=np.int64)
        rows = np.flatnonzero(self.first[row] >= 0)  # curves whose path goes on
        current = self.first[row][rows]
        for step in range(row + 1):
            chosen[rows, step] = self.candidates[rows, current]
            left = row - step - 1  # layers that may still follow the next one
            if left < 0 or not len(rows):
                break
            after = self._next(rows, current, left, behind_first=step == 0)
            rows, current = rows[after >= 0], after[after >= 0]
        return chosen

    def _next(self, rows: Ints, current: Ints, left: int, *, behind_first: bool) -> Ints:
        """The candidate that follows each `current` one; -1 where none gains."""
        numbers, values = self.candidates[rows], self.values[rows]
        each = np.arange(len(rows))
        here = numbers[each, current][:, None]
        rise = values - values[each, current][:, None]
        allowed = (numbers > here) & (rise > 0)
        if behind_first and self.separate:
            allowed &= numbers > here + 1
        table = np.where(
            allowed, rise * (self.num_layers - numbers) + self.later[left][rows], -np.inf
        )
        return _best(table, self.tie[rows])[1]

    def _row(self, budget: int) -> int:
        return min(budget, len(self.gain)) - 1


def solve(curve: Curve, budget: int, *, separate: bool = False) -> Solution:
    """Choose at most `budget` pruning layers for one curve.

    Args:
        curve: capabilities; layer 1, if present, is not looked at.
        budget: m >= 1.
        separate: keep the second layer at least two after the first (see the module's text).

    Raises:
        SwiftprofError: budget below 1.
    """
    found = solve_batch(curve.layers, curve.num_layers, curve.x[None], budget, separate=separate)
    layers = tuple(int(layer) for layer in found.layers(budget)[0] if layer)
    total = float(found.area(budget)[0])
    span = curve.num_layers - BASE_LAYER
    warning = None
    if len(layers) < budget:
        warning = (
            f"only {len(layers)} of the {budget} pruning layers asked for: no other layer would "
            "add to what these tell apart"
        )
    return Solution(layers, total, total / span if span else curve.at(BASE_LAYER), warning)


def solve_batch(
    layers: Sequence[int], num_layers: int, x: Floats, budget: int, *, separate: bool = False
) -> Solutions:
    """Choose layers for many curves over the same layers, for all budgets 1..`budget` at once.

    Time is O(B m C^2) for C candidates per curve, worst case C = L - 3 on rising curves.

    Args:
        layers: candidate layers, 1-based, increasing, with layer 2 among them; C_all of them.
        num_layers: L.
        x: capabilities, shape (B, C_all).
        budget: m >= 1.
        separate: as in `solve`.

    Raises:
        SwiftprofError: budget below 1.
    """
    if budget < 1:
        raise BadParameter("budget", budget, "must be at least 1 pruning layer")
    numbers = np.asarray(layers, dtype=np.int64)
    base = x[:, int(np.flatnonzero(numbers == BASE_LAYER)[0])]
    usable = (numbers > BASE_LAYER) & (numbers < num_layers)
    candidates, values = _candidates(numbers[usable], x[:, usable], base, separate)
    count, width = candidates.shape
    steps = min(budget, width) or 1
    gain = np.zeros((steps, count))
    first = np.full((steps, count), -1, dtype=np.int64)
    later = np.zeros((max(1, steps - 1), count, width))
    tie = _TIE * num_layers * np.maximum(np.abs(values).max(axis=1, initial=0.0), np.abs(base))
    if width:
        size = max(1, _CHUNK_CELLS // width**2)
        for start in range(0, count, size):
            part = slice(start, start + size)
            _program(
                candidates[part], values[part], base[part], num_layers, separate, tie[part],
                gain[:, part], first[:, part], later[:, part],
            )  # fmt: skip
    return Solutions(
        base * (num_layers - BASE_LAYER),
        candidates,
        gain,
        first,
        values,
        later,
        tie,
        num_layers,
        separate,
    )


def area(layers: Sequence[int], num_layers: int, x: Floats, chosen: Sequence[int]) -> Floats:
    """U of given layers on given curves (eq. 7), whether or not they are optimal or rising.

    Args:
        layers: layers of the columns of x.
        num_layers: L.
        x: capabilities, shape (..., C_all).
        chosen: pruning layers, increasing.

    Returns:
        U, shape (...).
    """
    column = {layer: number for number, layer in enumerate(layers)}
    steps = [BASE_LAYER, *chosen, num_layers]
    total = np.zeros(x.shape[:-1])
    for layer, after in pairwise(steps):
        if after > layer:
            total = total + x[..., column[layer]] * (after - layer)
    return total


def _candidates(numbers: Ints, x: Floats, base: Floats, separate: bool) -> tuple[Ints, Floats]:
    """Layers that an optimum may use, packed to the left: numbers (B, C), 0 as padding; values."""
    count, width = x.shape
    keep = np.zeros((count, width), dtype=bool)
    record = np.zeros((count, width), dtype=bool)
    blocking = np.zeros((count, width), dtype=bool)  # a record right behind another record
    each = np.arange(count)
    top, second, holder = base.copy(), np.full(count, -np.inf), np.full(count, -1)
    for column in range(width):
        value = x[:, column]
        record[:, column] = value > top
        if column and numbers[column] == numbers[column - 1] + 1:
            blocking[:, column] = record[:, column] & record[:, column - 1]
        keep[:, column] = record[:, column]
        if separate:  # beaten by one layer only, and that one can be out of reach
            blocked = (holder >= 0) & blocking[each, holder]
            keep[:, column] |= blocked & (value > second)
        second = np.where(record[:, column], top, np.maximum(second, value))
        holder = np.where(record[:, column], column, holder)
        top = np.maximum(top, value)
    packed = int(keep.sum(axis=1).max(initial=0))
    order = np.argsort(~keep, axis=1, kind="stable")[:, :packed]
    kept = np.take_along_axis(keep, order, axis=1)
    candidates = np.where(kept, numbers[order], 0) if packed else np.zeros((count, 0), np.int64)
    return candidates, np.where(kept, np.take_along_axis(x, order, axis=1), 0.0)


def _program(
    candidates: Ints,
    values: Floats,
    base: Floats,
    num_layers: int,
    separate: bool,
    tie: Floats,
    gain: Floats,
    first: Ints,
    later: Floats,
) -> None:
    """Fill the tables of one chunk, backwards: what follows a layer is independent of what led to
    it.
    """
    width = candidates.shape[1]
    real = candidates > 0
    weight = np.where(real, num_layers - candidates, 0)
    start = np.where(real & (values > base[:, None]), (values - base[:, None]) * weight, -np.inf)
    # Candidates by rows, curves by columns: the maximum over what follows then runs along memory.
    x, w = values.T.copy(), weight.T.astype(np.float64)
    follows = real.T[:, None] & real.T[None] & np.triu(np.ones((width, width), bool), 1)[..., None]
    step = np.where(follows & (x[None] > x[:, None]), (x[None] - x[:, None]) * w[None], -np.inf)
    here = np.arange(width - 1)
    neighbours = np.zeros((width, len(base)), bool)
    neighbours[:-1] = np.diff(candidates, axis=1).T == 1
    beside = np.full((width, len(base)), -np.inf)  # the step to the next candidate, apart
    beside[:-1] = step[here, here + 1]
    step[here, here + 1] = -np.inf
    after_first = after_later = np.zeros((width, len(base)))
    table = np.empty_like(step)
    for k in range(len(gain)):
        best, first[k] = _best(start + after_first.T, tie)
        gain[k] = np.maximum(best, 0.0)
        if k == len(gain) - 1:
            break
        later[k] = after_later.T
        np.add(step, after_later[None], out=table)
        far = table.max(axis=1)
        near = beside.copy()
        near[:-1] += after_later[1:]
        after_later = np.maximum(np.maximum(far, near), 0.0)
        after_first = (
            np.where(neighbours, np.maximum(far, 0.0), after_later) if separate else after_later
        )


def _best(table: Floats, tie: Floats) -> tuple[Floats, Ints]:
    """Maximum over the last axis and the first place that has it; -1 where all is forbidden."""
    best = table.max(axis=-1)
    place = np.argmax(table >= (best - tie)[..., None], axis=-1)
    return best, np.where(np.isneginf(best), -1, place)
