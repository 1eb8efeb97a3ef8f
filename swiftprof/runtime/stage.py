"""One stage: restore, score, select, merge (paper §3.3), without a loop over tokens or rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swiftprof.core.layout import compact, gather_tokens
from swiftprof.core.merge import Bypassed, Rest, restore
from swiftprof.core.select import rank, top
from swiftprof.methods.base import Method
from swiftprof.methods.view import StageView
from swiftprof.runtime.decode import Segment
from swiftprof.runtime.decoder import attention_scores
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
    call.tokens, call.waiting = call.prompt, None
    return hidden


def score(
    call: Prefill,
    method: Method,
    stage: int,
    layer: nn.Module,
    hidden: Tensor,
    whole_rope: tuple[Tensor, Tensor],
) -> Tensor:
    """The method's scores for the tokens present, `(B, n)`.

    Args:
        call: the prefill.
        method: the method.
        stage: 0-based stage.
        layer: the stage's decoder layer.
        hidden: `(B, n, D)`, input of the layer.
        whole_rope: cos and sin of the whole prompt.
    """
    tokens, memo = call.tokens, call.memo

    def attention(
        *, rope: bool = True, among: Tensor | None = None, queries: Tensor | None = None
    ) -> Tensor:
        return attention_scores(
            layer,
            hidden,
            call.positions(whole_rope),
            tokens.last,
            tokens.valid,
            rope=rope,
            among=among,
            asking=queries,
            most_asking=call.most_asking(method.attends),
        )

    view = StageView(
        stage=stage,
        candidates=tokens.candidates,
        index=torch.where(tokens.candidates, call.index.gather(1, tokens.slots), -1),
        visible=tokens.valid,
        keep=call.counts[stage, 0],
        n_visual=call.schedule.visual,
        hidden=hidden,
        attention=attention,
        memo=None if memo is None else memo.gather(1, tokens.slots),
        vision=call.vision,
    )
    return method.scores(view)


def select(
    call: Prefill,
    method: Method,
    stage: int,
    cut: int,
    scores: Tensor,
    hidden: Tensor,
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
        on_stage: receives what was selected; None costs nothing.
        layer: the plan's layer number, for `on_stage`.

    Returns:
        `(B, m, D)`, the tokens that go on.
    """
    tokens, schedule = call.tokens, call.schedule
    keep, rest, merge = call.counts[stage]  # (B, 1) each
    width, groups = max(schedule.rest[stage]), max(schedule.merged[stage])
    final = stage == len(schedule.kept) - 1

    order = rank(scores, tokens.candidates)
    chosen = top(order, keep)
    staying = (tokens.valid & ~tokens.candidates) | chosen
    number = torch.full_like(order, -1)  # at a seed's column: which merged token stands there
    front = 0
    source = torch.arange(hidden.shape[1], device=hidden.device).expand_as(order)
    pool, waiting, bias = hidden, None, None
    if groups or (method.bypass and not final):
        places = torch.arange(width, device=hidden.device)
        columns = order.gather(
            1, (keep + places).clamp_max(order.shape[1] - 1)
        )  # (B, R), best first
        slots, present = tokens.slots.gather(1, columns), places < rest
        waiting = Bypassed(slots, present, gather_tokens(hidden, columns))
        if groups:
            index = call.index.gather(1, slots)
            bypassed = Rest(slots, present, index, waiting.hidden, merge, groups, call.vision)
            merged = method.merge(bypassed)
            front = merged.front
            seeds = slots.gather(1, merged.seeds)
            waiting = Bypassed(slots, present, waiting.hidden, merged.group, seeds, merged.tokens)
            # Merged tokens stand behind the others in the pool; their seeds' columns point there.
            at = columns.gather(1, merged.seeds).masked_fill(
                ~bypassed.used, order.shape[1]
            )  # one column too many takes the unused
            pool = torch.cat([hidden, merged.tokens], dim=1)
            if merged.size is not None:  # a token that stands for g others weighs like them
                bias = torch.cat([hidden.new_zeros(order.shape), merged.size.log()], dim=1)
            each = torch.arange(groups, device=hidden.device)
            source = _put(source, at, hidden.shape[1] + each)
            number = _put(number, at, each)

    seeded = number >= 0
    lengths = schedule.lengths(stage)
    length = max(lengths)
    picked, valid = compact(staying | seeded, length)
    if groups and method.merged_apart and method.compacts:
        moved = _apart(call, tokens.slots.gather(1, picked), number.gather(1, picked), valid, front)
        picked = picked.gather(1, moved)
    call.tokens = Tokens(
        slots=tokens.slots.gather(1, picked),
        valid=valid,
        candidates=(chosen | seeded).gather(1, picked) & valid,
        last=torch.full_like(tokens.last, length - 1),
        whole=False,
    )
    call.waiting = waiting if method.bypass and not final else None
    call.rope = None
    source = source.gather(1, picked)
    call.segments.append(
        Segment(
            cut,
            length,
            valid if min(lengths) < length else None,
            call.dropped(),
            None if bias is None else bias.gather(1, source),
        )
    )
    if on_stage is not None:
        on_stage(StageEvent.make(call, stage, layer, cut, tokens.slots, chosen, seeded, waiting))
    return gather_tokens(pool, source)


def _apart(call: Prefill, slots: Tensor, number: Tensor, valid: Tensor, front: int) -> Tensor:
    """Order of columns in which merged tokens stand before or behind all kept visual tokens.

    Args:
        call: the prefill.
        slots: `(B, n)`, slots of the columns, ascending where nothing was moved before.
        number: `(B, n)`, which merged token a column holds; -1 for the others.
        valid: `(B, n)`, padding stays where it is.
        front: the first so many merged tokens stand before, the others behind.

    Returns:
        `(B, n)` int64, a permutation of the columns.
    """
    visual, length = call.prompt.candidates, call.length
    place = torch.arange(length, device=slots.device)
    first = torch.where(visual, place, length).amin(1, keepdim=True)
    last = torch.where(visual, place, -1).amax(1, keepdim=True)
    columns = slots.shape[1]
    # A visual token that was moved before keeps its place among the visual tokens.
    inside = (slots >= first) & (slots <= last)
    key = torch.where(inside, first, slots) * (3 * columns)
    key = key + torch.where(inside, columns + torch.arange(columns, device=slots.device), 0)
    key = torch.where((number >= 0) & (number < front), first * 3 * columns + number, key)
    key = torch.where(number >= front, first * 3 * columns + 2 * columns + number, key)
    return torch.where(valid, key, -1).argsort(dim=1, stable=True)


def _put(row: Tensor, at: Tensor, value: Tensor) -> Tensor:
    """A copy of `row` `(B, n)` with `value` at columns `at` `(B, Z)`; column n is nowhere."""
    return torch.cat([row, row[:, :1]], dim=1).scatter(1, at, value.expand_as(at))[:, :-1]
