"""How a fraction of the visual tokens becomes a whole number of tokens.

A plan stores fractions, because models differ in how many visual tokens a prompt has. The planner,
the FLOPs estimate and the runtime must agree on the count to the last token, so they all call these
functions. Rounding is half up (2.5 -> 3): Python's own `round` goes to the even neighbour and would
make counts jump.
"""

from __future__ import annotations

import math


def round_half_up(value: float) -> int:
    """Nearest integer, halves away from zero for the non-negative values used here."""
    return math.floor(value + 0.5)


def kept_count(fraction: float, n_visual: int) -> int:
    """Visual tokens a stage keeps: at least 1, at most all; 0 of a prompt that has none."""
    return min(n_visual, max(1, round_half_up(fraction * n_visual)))


def merged_count(fraction: float, n_visual: int, kept: int) -> int:
    """Merged tokens a stage adds: never more than the tokens that it did not keep."""
    return max(0, min(round_half_up(fraction * n_visual), n_visual - kept))


def best_count(keep: int, share: float) -> int:
    """How many of `keep` tokens are chosen by score when a share is spread; at least one."""
    return min(keep, max(1, round_half_up(keep * (1 - share))))
