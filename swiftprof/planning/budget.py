"""From pruning layers and a token budget to stages: how many tokens each stage keeps and merges.

N, the retained tokens, is the average over layers of the visual tokens that enter each layer,
everything counted: kept, merged, recycled, the CLS token. It means the same for every method. The
layers up to the first stage see all n_v tokens, which is the floor of N. A schedule gives every
later stretch of layers a share of n_v from one parameter in [0, 1]; the parameter is solved for N
by bisection and the counts are then moved by a few tokens to meet N more closely. The method says
how many of a stage's tokens are merged ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, pairwise

from swiftprof.core.counts import kept_count, merged_count, round_half_up
from swiftprof.core.stages import stage_lengths
from swiftprof.errors import BadParameter, did_you_mean
from swiftprof.methods import create
from swiftprof.methods.base import Method
from swiftprof.planning.plan_file import Stage

Shares = Callable[[float, int, int], list[float]]
"""(parameter in [0, 1], number of stages, n_v) -> share of n_v that goes on after each stage."""

SCHEDULES: Mapping[str, float] = {"uniform": 0.0, "gentle": 0.5, "geometric": 1.0, "steep": 2.0}
"""Name -> tilt."""

PUBLISHED = "published"
"""The method's own schedule, where it has one."""


def tilted(parameter: float, stages: int, tilt: float) -> list[float]:
    """The share of n_v behind stage j (from 1) is ``parameter ** (j ** tilt)``.

    A tilt of 0 gives every stage the same number, 1 a constant factor from stage to stage, and the
    larger it is, the more tokens the first stage keeps at the cost of the later ones. The paper
    prints no counts, so which is best is a question for measurement.
    """
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


MERGE_SHARE = 0.05
"""Merged tokens of a stage as a fraction of n_v. The paper leaves Z open."""
_BISECTIONS = 60
_REACH = 3
"""Tokens by which a count may leave its rounded value to meet N."""


def smallest_retain(
    layers: Sequence[int], num_layers: int, n_visual: int, method: Method | None = None
) -> float:
    """The least possible N: all tokens up to the first stage, then as few as the method can."""
    method = method or create("swiftvlm")
    full, *rest = stage_lengths(layers, num_layers, method.first)
    least = _least(method, len(layers), n_visual)
    spent = sum(n * count for n, count in zip(rest, least, strict=True))
    return (full * n_visual + spent) / num_layers


def fill_budget(
    layers: Sequence[int],
    num_layers: int,
    n_visual: int,
    retain: float,
    *,
    method: Method | None = None,
    merge_share: float = MERGE_SHARE,
    schedule: str | None = None,
) -> tuple[Stage, ...]:
    """Stages at the given layers whose average of visual tokens is `retain`.

    The realised average is as near to `retain` as moving each count by a few tokens allows, and
    never above `retain` + 0.5.

    Args:
        layers: pruning layers, increasing.
        num_layers: L.
        n_visual: n_v, visual tokens of a prompt.
        retain: N.
        method: what will prune; SwiftVLM if None.
        merge_share: Z / n_v of a stage, for methods that leave Z open.
        schedule: see `shares_of`.

    Raises:
        SwiftprofError: unknown schedule, or an impossible N; the message names the possible ones.
    """
    method = method or create("swiftvlm")
    shape = shares_of(schedule, method)
    least = smallest_retain(layers, num_layers, n_visual, method)
    if retain >= n_visual:
        raise BadParameter(
            "retain",
            retain,
            f"the model has {n_visual} visual tokens, so nothing would be "
            "pruned; "
            f"choose a number from {_up(least)} to {n_visual - 1}",
        )
    if retain < least:
        floor = _least(method, len(layers), n_visual)[0]
        why = "" if floor <= 1 else f" and the method goes on with no fewer than {floor}"
        raise BadParameter(
            "retain",
            retain,
            f"impossible with layers {', '.join(map(str, layers))}: the first "
            f"{layers[0]} of {num_layers} layers see all {n_visual} tokens{why}; the smallest "
            f"possible is {_up(least)} (ratio {_up(least / n_visual, 4)})",
        )
    lengths = stage_lengths(layers, num_layers, method.first)
    target = retain * num_layers - lengths[0] * n_visual
    floors = _least(method, len(layers), n_visual)

    def ideal(parameter: float) -> list[float]:
        shares = shape(parameter, len(layers), n_visual)
        return [max(float(f), s * n_visual) for f, s in zip(floors, shares, strict=True)]

    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        spent = sum(n * count for n, count in zip(lengths[1:], ideal(middle), strict=True))
        low, high = (middle, high) if spent < target else (low, middle)
    counts = _settle(ideal(high), lengths[1:], target, n_visual, floors)
    wanted = round_half_up(merge_share * n_visual)
    merged, present = [], n_visual
    for number, count in enumerate(counts):
        last = number == len(counts) - 1
        merged.append(max(0, method.merged_of(count, present, wanted, last=last)))
        present = n_visual if method.bypass else count
    return stages_of(layers, counts, merged, n_visual)


def _least(method: Method, stages: int, n_visual: int) -> list[int]:
    """The fewest tokens after each stage."""
    counts, present = [], n_visual
    for stage in range(stages):
        counts.append(method.least_total(present, n_visual, stage))
        present = n_visual if method.bypass else counts[-1]
    return counts


def _settle(
    ideal: Sequence[float],
    lengths: Sequence[int],
    target: float,
    most: int,
    least: Sequence[int],
) -> list[int]:
    """Whole counts near the ideal ones whose weighted sum is as near to the target as can be.

    Starts from the rounded counts and moves one or two of them while that helps, the smallest move
    first. A count stays within `_REACH` of its rounded value, from its `least` to `most`, and never
    rises above the one before.
    """
    rounded = [min(most, max(f, round_half_up(v))) for f, v in zip(least, ideal, strict=True)]
    counts = list(rounded)
    steps = sorted((step for step in range(-_REACH, _REACH + 1) if step), key=abs)
    single = [((place, step),) for place in range(len(counts)) for step in steps]
    double = [(a, b) for (a,), (b,) in combinations(single, 2) if a[0] != b[0]]
    moves = sorted([*single, *double], key=lambda move: sum(abs(step) for _, step in move))
    missing = target - sum(n * count for n, count in zip(lengths, counts, strict=True))

    def valid(values: Sequence[int]) -> bool:
        near = all(abs(v - r) <= _REACH for v, r in zip(values, rounded, strict=True))
        inside = values[0] <= most and all(v >= f for v, f in zip(values, least, strict=True))
        return near and inside and all(after <= before for before, after in pairwise(values))

    while True:
        best, left = counts, missing
        for move in moves:
            after = missing - sum(step * lengths[place] for place, step in move)
            if abs(after) < abs(left) - 1e-9:
                changed = list(counts)
                for place, step in move:
                    changed[place] += step
                if valid(changed):
                    best, left = changed, after
        if best is counts:
            return counts
        counts, missing = best, left


def stages_of(
    layers: Sequence[int], counts: Sequence[int], merged: Sequence[int], n_visual: int
) -> tuple[Stage, ...]:
    """Fractions, as short as give every count back.

    `keep` and `keep + merge` are rounded to the same digits at all stages, so that equal counts
    have equal sums and sums never grow.

    Args:
        layers: pruning layers.
        counts: tokens that go on after each stage.
        merged: how many of them are merged ones.
        n_visual: n_v.
    """
    for digits in range(4, 17):
        stages = []
        for layer, count, extra in zip(layers, counts, merged, strict=True):
            keep = round((count - extra) / n_visual, digits)
            merge = round(round(count / n_visual, digits) - keep, digits)
            kept = kept_count(keep, n_visual)
            if (kept, merged_count(merge, n_visual, kept)) != (count - extra, extra):
                break
            stages.append(Stage(layer=layer, keep=keep, merge=merge))
        else:
            return tuple(stages)
    raise AssertionError("16 digits hold every fraction of a count")


def _up(value: float, digits: int = 0) -> str:
    """A number rounded up, so that typing it is accepted."""
    scaled = -(-value * 10**digits // 1)
    return f"{scaled / 10**digits:.{digits}f}"
