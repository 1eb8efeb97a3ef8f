"""From pruning layers and a token budget to stages: how many tokens each stage keeps and merges.

N, the retained tokens, is the average over layers of the visual tokens (kept + merged) that enter
each layer. The layers up to the first stage see all n_v tokens, which is the floor of N. A schedule
gives every later stretch of layers a share of n_v from one parameter in [0, 1]; the parameter is
solved for N by bisection and the counts are then moved by a few tokens to meet N more closely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, pairwise

from swiftprof.core.counts import kept_count, merged_count, round_half_up
from swiftprof.errors import SwiftprofError, did_you_mean
from swiftprof.planning.plan_file import Stage

__all__ = ["MERGE_SHARE", "SCHEDULES", "fill_budget", "smallest_retain", "stage_lengths"]

Schedule = Callable[[float, int], list[float]]
"""(parameter in [0, 1], number of stages) -> share of n_v at each stage, none above the one before.

Each share must rise with the parameter, from 0 to 1.
"""


def geometric(parameter: float, stages: int) -> list[float]:
    """Each stage has `parameter` times the tokens of the one before (the first: of all)."""
    return [parameter ** (number + 1) for number in range(stages)]


def uniform(parameter: float, stages: int) -> list[float]:
    """Every stage has the same number of tokens; only which ones changes."""
    return [parameter] * stages


SCHEDULES: Mapping[str, Schedule] = {"geometric": geometric, "uniform": uniform}

MERGE_SHARE = 0.05
"""Merged tokens of a stage as a fraction of n_v. The paper leaves Z open."""
_MERGE_LIMIT = 0.5
"""Merged tokens never take more than this part of a stage: in tight budgets selection comes first.
"""
_BISECTIONS = 60
_REACH = 3
"""Tokens by which a count may leave its rounded value to meet N."""


def stage_lengths(layers: Sequence[int], num_layers: int) -> list[int]:
    """How many layers run before the first cut and after each: [i_1, …], summing to `num_layers`.

    The first stage cuts after its layer, later ones before theirs.
    """
    cuts = [0, *(layer if number == 0 else layer - 1 for number, layer in enumerate(layers))]
    return [after - before for before, after in pairwise([*cuts, num_layers])]


def smallest_retain(layers: Sequence[int], num_layers: int, n_visual: int) -> float:
    """The least possible N: all tokens up to the first stage, then a single one."""
    full, *rest = stage_lengths(layers, num_layers)
    return (full * n_visual + sum(rest)) / num_layers


def fill_budget(
    layers: Sequence[int],
    num_layers: int,
    n_visual: int,
    retain: float,
    *,
    merge_share: float = MERGE_SHARE,
    schedule: str = "geometric",
) -> tuple[Stage, ...]:
    """Stages at the given layers whose average of visual tokens is `retain`.

    The realised average is as near to `retain` as moving each count by at most one token allows,
    and never above `retain` + 0.5.

    Args:
        layers: pruning layers, increasing, the second at least two after the first.
        num_layers: L.
        n_visual: n_v, visual tokens of a prompt.
        retain: N.
        merge_share: Z / n_v of every stage but the last; 0 for methods that do not merge. A stage
            never merges more than half of its tokens.
        schedule: a name in `SCHEDULES`.

    Raises:
        SwiftprofError: unknown schedule, or an impossible N; the message names the possible ones.
    """
    shape = SCHEDULES.get(schedule)
    if shape is None:
        raise SwiftprofError(f"--schedule {schedule}: {did_you_mean(schedule, SCHEDULES)}")
    least = smallest_retain(layers, num_layers, n_visual)
    if retain >= n_visual:
        raise SwiftprofError(
            f"--retain {retain:g}: the model has {n_visual} visual tokens, so nothing would be "
            "pruned; "
            f"choose a number from {_up(least)} to {n_visual - 1}"
        )
    if retain < least:
        raise SwiftprofError(
            f"--retain {retain:g}: impossible with layers {', '.join(map(str, layers))}: the first "
            f"{layers[0]} of {num_layers} layers see all {n_visual} tokens; the smallest possible "
            "is "
            f"{_up(least)} (ratio {_up(least / n_visual, 4)})"
        )
    lengths = stage_lengths(layers, num_layers)
    target = retain * num_layers - lengths[0] * n_visual

    def spent(parameter: float) -> float:
        shares = shape(parameter, len(layers))
        return sum(n * max(1.0, s * n_visual) for n, s in zip(lengths[1:], shares, strict=True))

    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) < target else (low, middle)
    ideal = [max(1.0, share * n_visual) for share in shape(high, len(layers))]
    counts = _settle(ideal, lengths[1:], target, n_visual)
    shares = [merge_share] * (len(layers) - 1) + [0.0]
    return _stages(layers, counts, shares, n_visual)


def _settle(ideal: Sequence[float], lengths: Sequence[int], target: float, most: int) -> list[int]:
    """Whole counts near the ideal ones whose weighted sum is as near to the target as can be.

    Starts from the rounded counts and moves one or two of them while that helps, the smallest move
    first. A count stays within `_REACH` of its rounded value, in 1..`most`, and never rises above
    the one before.
    """
    rounded = [min(most, max(1, round_half_up(value))) for value in ideal]
    counts = list(rounded)
    steps = sorted((step for step in range(-_REACH, _REACH + 1) if step), key=abs)
    single = [((place, step),) for place in range(len(counts)) for step in steps]
    double = [(a, b) for (a,), (b,) in combinations(single, 2) if a[0] != b[0]]
    moves = sorted([*single, *double], key=lambda move: sum(abs(step) for _, step in move))
    missing = target - sum(n * count for n, count in zip(lengths, counts, strict=True))

    def valid(values: Sequence[int]) -> bool:
        near = all(abs(v - r) <= _REACH for v, r in zip(values, rounded, strict=True))
        inside = values[0] <= most and values[-1] >= 1
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


def _stages(
    layers: Sequence[int], counts: Sequence[int], merge_shares: Sequence[float], n_visual: int
) -> tuple[Stage, ...]:
    """Fractions, as short as give every count back.

    `keep` and `keep + merge` are rounded to the same digits at all stages, so that equal counts
    have equal sums and sums never grow.
    """
    merged = [
        min(round_half_up(share * n_visual), int(count * _MERGE_LIMIT))
        for share, count in zip(merge_shares, counts, strict=True)
    ]
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
