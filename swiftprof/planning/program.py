"""The dynamic program that chooses pruning layers (paper eq. 4-9).

Choose layers 3 <= i_1 < … < i_k <= L, k <= m, with x_2 < x_{i_1} < … < x_{i_k}, that maximise

    U = sum_k x_{i_k} (i_{k+1} - i_k),   i_0 = 2, i_{k+1} = L,        P = U / (L - 2)

which is x_2 (L - 2) plus a gain (x_{i_k} - x_{i_{k-1}}) (L - i_k) for each chosen layer. Layer L
gains nothing and is never chosen. An optimum needs only records, layers better than every earlier
one: an earlier layer that is as good is at least as good a choice. On the records every later one
may follow every earlier one, so the program is

    G_k(i) = max_{j > i} (x_j - x_i) (L - j) + G_{k-1}(j),   G_0 = 0.

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

_TIE = 1e-12
"""Areas that differ by less, relative to their size, are equal: only rounding tells them apart."""


@dataclass(frozen=True)
class Program:
    """The program of one curve, solved for every budget 1..m.

    Attributes:
        base: x_2 (L - 2).
        records: layer 2 and the layers that an optimum may use.
        gain: [k - 1]: best gain with at most k layers.
        follows: [k - 1][i]: which record follows record i when k more layers may be chosen; 0 for
            none.
    """

    base: float
    records: tuple[int, ...]
    gain: tuple[float, ...]
    follows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, layers: Ints, x: Floats, num_layers: int, budget: int) -> Program:
        """Solve for layers 2..L - 1 and their capabilities, both of shape (C,)."""
        before = np.maximum.accumulate(np.concatenate([[-np.inf], x[:-1]]))
        record = x > before
        numbers, heights = layers[record], x[record]
        rise = (heights - heights[:, None]) * (num_layers - numbers)
        step = np.where(np.tri(len(numbers), dtype=bool), -np.inf, rise)  # only later ones follow
        tie = _TIE * num_layers * np.abs(x).max()
        best, gain, follows = np.zeros(len(numbers)), [], []
        for _ in range(min(budget, len(numbers) - 1)):
            total = step + best
            best = total.max(axis=1)
            follows.append(tuple((total >= (best - tie)[:, None]).argmax(axis=1).tolist()))
            best[-1] = 0.0  # nothing follows the last record
            gain.append(float(best[0]))
        base = float(x[0]) * (num_layers - BASE_LAYER)
        return cls(base, tuple(numbers.tolist()), tuple(gain), tuple(follows))

    def area(self, budget: int) -> float:
        """Best U with at most `budget` layers."""
        return self.base + (self.gain[min(budget, len(self.gain)) - 1] if self.gain else 0.0)

    def layers(self, budget: int) -> tuple[int, ...]:
        """The chosen layers."""
        chosen, at = [], 0
        for left in reversed(range(min(budget, len(self.follows)))):
            at = self.follows[left][at]
            if not at:
                break
            chosen.append(self.records[at])
        return tuple(chosen)


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


def solve(curve: Curve, budget: int) -> Solution:
    """Choose at most `budget` pruning layers; layer 1, if present, is not looked at.

    Raises:
        BadParameter: budget below 1.
    """
    (found,) = solve_all(curve.layers, curve.num_layers, curve.x[None], budget)
    layers, total, span = found.layers(budget), found.area(budget), curve.num_layers - BASE_LAYER
    warning = None
    if len(layers) < budget:
        warning = (
            f"only {len(layers)} of the {budget} pruning layers asked for: no other layer would "
            "add to what these tell apart. Keep this plan, or look beyond the curve with "
            "swiftprof plan --search 10m or --preset often"
        )
    return Solution(layers, total, total / span if span else curve.at(BASE_LAYER), warning)


def solve_all(layers: Sequence[int], num_layers: int, x: Floats, budget: int) -> list[Program]:
    """Solve many curves over the same layers, for all budgets 1..`budget` at once.

    Args:
        layers: candidate layers, 1-based, increasing, with layer 2 among them; C of them.
        num_layers: L.
        x: capabilities, shape (B, C).
        budget: m >= 1.

    Raises:
        BadParameter: budget below 1.
    """
    if budget < 1:
        raise BadParameter("budget", budget, "must be at least 1 pruning layer")
    numbers = np.asarray(layers, dtype=np.int64)
    usable = (numbers == BASE_LAYER) | ((numbers > BASE_LAYER) & (numbers < num_layers))
    return [Program.of(numbers[usable], row, num_layers, budget) for row in x[:, usable]]


def area(layers: Sequence[int], num_layers: int, x: Floats, chosen: Sequence[int]) -> Floats:
    """U of given layers on given curves (eq. 7), whether or not they are optimal or rising.

    Args:
        layers: layers of the columns of x.
        num_layers: L.
        x: capabilities, shape (..., C).
        chosen: pruning layers, increasing.

    Returns:
        U, shape (...).
    """
    column = {layer: number for number, layer in enumerate(layers)}
    total = np.zeros(x.shape[:-1])
    for layer, after in pairwise([BASE_LAYER, *chosen, num_layers]):
        if after > layer:
            total = total + x[..., column[layer]] * (after - layer)
    return total
