"""How the number of tokens falls from stage to stage: one parameter decides how many there are.

All named schedules are one family. The share of n_v behind stage j (from 1) is
``parameter ** (j ** tilt)``: a tilt of 0 gives every stage the same number, 1 a constant factor
from stage to stage, and the larger it is, the more tokens the first stage keeps at the cost of the
later ones. The paper prints no counts, so which is best is a question for measurement. Any other
shape is written as its numbers, `55+28+10`: only their proportions count, up to all tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from swiftprof.errors import SwiftprofError, did_you_mean
from swiftprof.methods.base import Method

__all__ = ["NOMINAL", "SCHEDULES", "Shares", "shares_of"]

Shares = Callable[[float, int, int], list[float]]
"""(parameter in [0, 1], number of stages, n_v) -> share of n_v that goes on after each stage."""

SCHEDULES: Mapping[str, float] = {"uniform": 0.0, "gentle": 0.5, "geometric": 1.0, "steep": 2.0}
"""Name -> tilt."""

PUBLISHED = "published"
"""The method's own schedule, where it has one."""
NOMINAL = "nominal"
"""The very counts that a method published under the name of a budget, which they may not retain."""


def tilted(parameter: float, stages: int, tilt: float) -> list[float]:
    """Shares of one member of the family."""
    return [parameter ** float((number + 1) ** tilt) for number in range(stages)]


def _shape(name: str) -> Shares:
    """Shares in proportion to written numbers, at most all; the parameter scales them."""
    parts = name.split("+")
    if not all(part.isascii() and part.isdecimal() and int(part) for part in parts):
        raise SwiftprofError(f"--schedule {name}: a shape is whole numbers above 0, as 55+28+10")
    numbers = [int(part) for part in parts]
    if numbers != sorted(numbers, reverse=True):
        raise SwiftprofError(f"--schedule {name}: a later stage cannot keep more; let numbers fall")

    def shares(parameter: float, stages: int, n_visual: int) -> list[float]:
        if stages != len(numbers):
            raise SwiftprofError(f"--schedule {name}: has {len(numbers)} numbers, not {stages}")
        return [min(1.0, parameter * number / numbers[-1]) for number in numbers]

    return shares


def shares_of(schedule: str | None, method: Method) -> Shares:
    """The schedule of that name; the method's own if None.

    Args:
        schedule: a name in `SCHEDULES`, a tilt as a number (`0.5`), a shape (`55+28+10`), or
            `published`.
        method: gives the default and `published`.

    Raises:
        SwiftprofError: unknown schedule, or a method without one of its own.
    """
    name = schedule or method.schedule
    if "+" in name:
        return _shape(name)
    if name == PUBLISHED:
        if method.schedule != PUBLISHED:
            raise SwiftprofError(
                f"--schedule {name}: this method publishes none; {did_you_mean('', SCHEDULES)}"
            )
        return method.published_shares
    tilt = SCHEDULES.get(name)
    if tilt is None:
        try:
            tilt = float(name)
        except ValueError:
            tilt = math.nan
        if not 0 <= tilt <= 10:
            raise SwiftprofError(
                f"--schedule {name}: {did_you_mean(name, [*SCHEDULES, PUBLISHED, NOMINAL])}"
            )
    return lambda parameter, stages, n_visual: tilted(parameter, stages, tilt)
