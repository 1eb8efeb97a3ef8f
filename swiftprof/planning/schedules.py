"""How the number of tokens falls from stage to stage: one parameter decides how many there are.

All named schedules are one family. The share of n_v behind stage j (from 1) is
``parameter ** (j ** tilt)``: a tilt of 0 gives every stage the same number, 1 a constant factor
from stage to stage, and the larger it is, the more tokens the first stage keeps at the cost of the
later ones. The paper prints no counts, so which is best is a question for measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

from swiftprof.errors import BadParameter, did_you_mean
from swiftprof.methods.base import Method

Shares = Callable[[float, int, int], list[float]]
"""(parameter in [0, 1], number of stages, n_v) -> share of n_v that goes on after each stage."""

SCHEDULES: Mapping[str, float] = {"uniform": 0.0, "gentle": 0.5, "geometric": 1.0, "steep": 2.0}
"""Name -> tilt."""

PUBLISHED = "published"
"""The method's own schedule, where it has one."""


def tilted(parameter: float, stages: int, tilt: float) -> list[float]:
    """Shares of one member of the family."""
    return [parameter ** float((number + 1) ** tilt) for number in range(stages)]


def shares_of(schedule: str | None, method: Method) -> Shares:
    """The schedule of that name; the method's own if None.

    Args:
        schedule: a name in `SCHEDULES`, a tilt as a number (`0.5`), the stages' tokens relative to
            the first one's (`1/0.25/0.1`), or `published`.
        method: gives the default and `published`.

    Raises:
        SwiftprofError: unknown schedule, or a method without one of its own.
    """
    name = schedule or method.schedule
    if name == PUBLISHED:
        if method.schedule != PUBLISHED:
            raise BadParameter(
                "schedule", name, f"this method publishes none; {did_you_mean('', SCHEDULES)}"
            )
        return method.published_shares
    if "/" in name:
        return _fixed(name)
    tilt = SCHEDULES.get(name)
    if tilt is None:
        try:
            tilt = float(name)
        except ValueError:
            tilt = math.nan
        if not 0 <= tilt <= 10:
            raise BadParameter("schedule", name, did_you_mean(name, [*SCHEDULES, PUBLISHED]))
    return lambda parameter, stages, n_visual: tilted(parameter, stages, tilt)


def _fixed(text: str) -> Shares:
    """`1/0.25/0.1`: the stages' tokens relative to each other."""
    try:
        ratios = [float(part) for part in text.split("/")]
    except ValueError:
        ratios = []
    falling = all(0 < b <= a for a, b in pairwise(ratios))
    if not ratios or ratios[0] != 1 or not falling:
        raise BadParameter(
            "schedule", text, "relative counts begin with 1, fall, and are above 0, as 1/0.25/0.1"
        )

    def shares(parameter: float, stages: int, n_visual: int) -> list[float]:
        if stages != len(ratios):
            raise BadParameter(
                "schedule",
                text,
                f"has {len(ratios)} relative counts, but there are {stages} stages",
            )
        return [parameter * ratio for ratio in ratios]

    return shares
