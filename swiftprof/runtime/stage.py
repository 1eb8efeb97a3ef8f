"""One stage (paper §3.3): restore, score, rank, merge, lay out; no loop over tokens or rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swiftprof.core.bypass import Bypassed, restore
from swiftprof.core.layout import compact, gather_tokens, scatter_tokens
from swiftprof.core.merge import Rest
from swiftprof.core.select import rank, rank_by_picture, top
from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method
from swiftprof.methods.view import StageView
from swiftprof.runtime.attention import Judge
from swiftprof.runtime.cache import Segment
from swiftprof.runtime.keys import KnownKeys
from swiftprof.runtime.prefill import Prefill, Tokens
from swiftprof.runtime.trace import OnStage, StageEvent


def changes_nothing(call: Prefill, method: Method, stage: int) -> bool:
    """Whether a stage leaves the sequence as it is: it keeps all, and none is waiting."""
    return call.schedule.keeps_all(stage) and (call.tokens.whole or not method.bypass)


def restore_bypassed(call: Prefill, hidden: Tensor) -> Tensor:
    """Bring the bypassed tokens back, if any: `(B, n, D)` becomes `(B, L, D)`."""
    if call.waiting is None:
        return hidden
    tokens = call.tokens
    hidden = restore(hidden, tokens.slots, tokens.valid, call.waiting, call.length)
    call.replace_tokens(call.prompt)
    call.waiting = None
    return hidden


def look(
    call: Prefill,
    method: Method,
    stage: int,
    judge: Judge,
    hidden: Tensor,
    cached: tuple[Tensor, Tensor] | None,
) -> StageView:
    """What the method may look at to score the tokens present.

    Args:
        call: the prefill.
        method: the method.
        stage: 0-based stage.
        judge: the decoder layer that judges.
        hidden: `(B, n, D)`, its input.
        cached: the layer's cached keys of the conversation before, and which of them can be seen.
    """
    tokens, memo = call.tokens, call.memo
    grid = (call.pictures.row, call.pictures.column) if call.pictures else (None, None)

    def attention(
        *, rope: bool = True, among: Tensor | None = None, queries: Tensor | None = None
    ) -> Tensor:
        if cached is not None and not rope and among is None:
            raise SwiftprofError(
                "images in a later turn cannot be judged without RoPE among all keys: those in the "
                "cache are rotated; take another method"
            )
        return judge.scores(
            tokens.last,
            tokens.visible,
            rope=rope,
            among=among,
            asking=queries,
            most_asking=call.most_asking(method.attends),
            cached=cached if among is None else None,
        )

    def rows(queries: Tensor) -> tuple[Tensor, Tensor]:
        return judge.rows(tokens.last, tokens.visible, queries, call.most_asking(method.attends))

    return StageView(
        stage=stage,
        candidates=tokens.candidates,
        index=torch.where(tokens.candidates, call.index.gather(1, tokens.slots), -1),
        visible=tokens.visible,
        keep=call.counts[stage, 0],
        n_keep=call.schedule.kept[stage],
        n_candidates=call.schedule.present(stage),
        n_visual=call.schedule.visual,
        hidden=hidden,
        attention=attention,
        rows=rows,
        keys=judge.flat_keys,
        memo=None if memo is None else memo.gather(1, tokens.slots),
        vision=call.vision,
        row=None if grid[0] is None else grid[0].gather(1, tokens.slots),
        column=None if grid[1] is None else grid[1].gather(1, tokens.slots),
    )


def select(
    call: Prefill,
    method: Method,
    stage: int,
    cut: int,
    scores: Tensor,
    hidden: Tensor,
    judge: Judge | None,
    on_stage: OnStage | None,
    layer: int,
) -> Tensor:
    """Keep the best, merge the rest where the method does, let the bypassed tokens wait.

    Args:
        call: the prefill; its tokens, segments and waiting tokens are replaced.
        method: the method.
        stage: 0-based stage.
        cut: 0-based index of the first layer that sees the result.
        scores: `(B, n)`.
        hidden: `(B, n, D)`.
        judge: the layer at `cut`, if it is that which judged these very tokens.
        on_stage: receives what was selected; None costs nothing.
        layer: the plan's layer number, for `on_stage`.

    Returns:
        `(B, m, D)`, the tokens that go on.
    """
    before = call.tokens
    if method.per == "image":
        assert call.pictures is not None
        number, size = (
            t.gather(1, before.slots) for t in (call.pictures.number, call.pictures.size)
        )
        order = rank_by_picture(scores, before.candidates, number, size)
    else:
        order = rank(scores, before.candidates)
    chosen = top(order, call.counts[stage, 0])
    pool = _merge(call, method, stage, order, hidden)
    projected = judge.projected if judge is not None and judge.has_projected else None
    hidden = _lay_out(call, method, stage, cut, chosen, pool, projected)
    if on_stage is not None:
        kept, merged = chosen & ~before.merged, (chosen & before.merged) | (pool.merged >= 0)
        on_stage(StageEvent.make(call, stage, layer, cut, before.slots, kept, merged))
    return hidden


@dataclass(frozen=True)
class _Pool:
    """What can go on after a stage.

    Attributes:
        hidden: `(B, n, D)`, the tokens present; a seed's column holds its merged token.
        merged: `(B, n)` int64, which merged token a column holds; -1 for the others.
        groups: merged tokens of a row, at most.
        front: so many of the first merged tokens stand before the kept visual tokens, where merged
            tokens stand apart at all.
        rest: the unselected tokens; None where nobody needs them.
    """

    hidden: Tensor
    merged: Tensor
    groups: int = 0
    front: int = 0
    rest: Bypassed | None = None


def _merge(call: Prefill, method: Method, stage: int, order: Tensor, hidden: Tensor) -> _Pool:
    """Gather the unselected tokens, where they wait or are merged, and merge them."""
    tokens, schedule = call.tokens, call.schedule
    keep, rest, count = call.counts[stage]  # (B, 1) each
    width, groups = max(schedule.rest[stage]), max(schedule.merged[stage])
    columns = order.shape[1]
    merged = torch.full_like(order, -1)
    if not groups and not (method.bypass and not schedule.is_last(stage)):
        return _Pool(hidden, merged)
    # The rest stands behind the kept in the ranking: (B, R), from best to worst.
    places = torch.arange(width, device=hidden.device)
    at = order.gather(1, (keep + places).clamp_max(columns - 1))
    slots, present = tokens.slots.gather(1, at), places < rest
    waiting = Bypassed(slots, present, gather_tokens(hidden, at))
    if not groups:
        return _Pool(hidden, merged, rest=waiting)
    index = call.index.gather(1, slots)
    given = Rest(slots, present, index, waiting.hidden, count, groups, call.vision)
    made = method.merge(given)
    waiting = Bypassed(
        slots, present, waiting.hidden, made.group, slots.gather(1, made.seeds), made.tokens
    )
    seeds = at.gather(1, made.seeds)
    each = torch.arange(groups, device=hidden.device)
    return _Pool(
        hidden=scatter_tokens(hidden, made.tokens, seeds, given.used),
        merged=_put(merged, seeds.masked_fill(~given.used, columns), each),  # unused: one too many
        groups=groups,
        front=made.front,
        rest=waiting,
    )


def _lay_out(
    call: Prefill,
    method: Method,
    stage: int,
    cut: int,
    chosen: Tensor,
    pool: _Pool,
    projected: Tensor | None,
) -> Tensor:
    """Put text, kept and merged tokens into a shorter sequence, in the order of their slots.

    Args:
        call: the prefill; its tokens, segments and waiting tokens are replaced.
        method: the method.
        stage: 0-based stage.
        cut: 0-based index of the first layer that sees the result.
        chosen: `(B, n)` bool, visual tokens that stay.
        pool: what can go on.
        projected: `(B, n, G * d)`, what W_K of the next layer gives for the tokens present; None
            where nobody knows.

    Returns:
        `(B, m, D)`, the tokens that go on.
    """
    tokens, schedule = call.tokens, call.schedule
    text, seeded = tokens.valid & ~tokens.candidates, pool.merged >= 0
    # Behind the prompts nothing moves, padding included, so that it lines up with what comes later.
    text = text | (tokens.slots >= call.length - call.tail)
    lengths = schedule.lengths(stage)
    length = max(lengths)
    picked, there = compact(text | chosen | seeded, length)
    if max(schedule.merged[stage]) and method.merged_apart and method.compacts:
        slots, merged = tokens.slots.gather(1, picked), pool.merged.gather(1, picked)
        picked = picked.gather(1, _apart(call, slots, merged, there, pool.front))
    slots, valid = tokens.slots.gather(1, picked), there & tokens.valid.gather(1, picked)
    merged = (chosen & tokens.merged) | seeded
    call.replace_tokens(
        Tokens(
            slots=slots,
            valid=valid,
            candidates=(chosen | seeded).gather(1, picked) & valid,
            merged=merged.gather(1, picked) & valid,
            last=(valid & (slots == call.prompt.last[:, None])).int().argmax(1),
            whole=False,
        )
    )
    call.waiting = pool.rest if method.bypass and not schedule.is_last(stage) else None
    call.known = None
    if projected is not None:
        call.known = KnownKeys.make(
            cut, gather_tokens(projected, picked), seeded.gather(1, picked) & there, pool.groups
        )
    padded = min(lengths) < length or call.tail > 0
    call.segments.append((cut, Segment(length, valid if padded else None, call.dropped())))
    return gather_tokens(pool.hidden, picked)


def _apart(call: Prefill, slots: Tensor, merged: Tensor, there: Tensor, front: int) -> Tensor:
    """Order of columns in which merged tokens stand before or behind all kept visual tokens.

    From left to right: padding, the text before the first visual token, the first `front` merged
    tokens, the kept visual tokens and the text between them as they stood, the other merged tokens,
    the text behind. A sort by that, in which columns of one kind keep their order.

    Args:
        call: the prefill.
        slots: `(B, n)`, slots of the columns.
        merged: `(B, n)`, which merged token a column holds; -1 for the others.
        there: `(B, n)`, false at the padding on the left.
        front: how many merged tokens stand before.

    Returns:
        `(B, n)` int64, a permutation of the columns.
    """
    visual, length = call.prompt.candidates, call.length
    place = torch.arange(length, device=slots.device)
    first = torch.where(visual, place, length).amin(1, keepdim=True)
    last = torch.where(visual, place, -1).amax(1, keepdim=True)
    middle, end = front + 1, length + 2  # merged token k is the k-th of those before or behind
    kind = torch.where(slots < first, 0, torch.where(slots > last, end, middle))
    kind = torch.where(merged >= 0, merged + 1 + (merged >= front).long(), kind)
    return torch.where(there, kind, -1).argsort(dim=1, stable=True)


def _put(row: Tensor, at: Tensor, value: Tensor) -> Tensor:
    """A copy of `row` `(B, n)` with `value` at columns `at` `(B, Z)`; column n is nowhere."""
    return torch.cat([row, row[:, :1]], dim=1).scatter(1, at, value.expand_as(at))[:, :-1]
