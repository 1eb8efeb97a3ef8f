"""One stage: restore, score, select, merge (paper §3.3), without a loop over tokens or rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swiftprof.core.layout import compact, gather_tokens
from swiftprof.core.merge import SEED_POLICIES, Bypassed, assign, mean_merge, restore
from swiftprof.core.select import rank, top
from swiftprof.methods.base import Method, StageView
from swiftprof.runtime.decode import Segment
from swiftprof.runtime.decoder import attention_scores
from swiftprof.runtime.prefill import Prefill, Tokens
from swiftprof.runtime.trace import OnStage, StageEvent

__all__ = ["changes_nothing", "restore_bypassed", "score", "select"]


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
    rope: tuple[Tensor, Tensor],
) -> Tensor:
    """The method's scores for the tokens present, `(B, n)`.

    Args:
        call: the prefill.
        method: the method.
        stage: 0-based stage.
        layer: the stage's decoder layer.
        hidden: `(B, n, D)`, input of the layer.
        rope: cos and sin of the whole prompt.
    """
    tokens = call.tokens
    view = StageView(
        stage=stage,
        candidates=tokens.candidates,
        index=torch.where(tokens.candidates, call.index.gather(1, tokens.slots), -1),
        keep=call.counts[stage, 0],
        hidden=hidden,
        attention=lambda: attention_scores(
            layer, hidden, call.positions(rope), tokens.last, tokens.valid
        ),
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
    seeded = torch.zeros_like(chosen)
    source = torch.arange(hidden.shape[1], device=hidden.device).expand_as(order)
    pool, waiting = hidden, None
    if groups or (method.bypass and not final):
        places = torch.arange(width, device=hidden.device)
        columns = order.gather(
            1, (keep + places).clamp_max(order.shape[1] - 1)
        )  # (B, R), best first
        present = places < rest
        slots = tokens.slots.gather(1, columns)
        waiting = Bypassed(slots, present, gather_tokens(hidden, columns))
        if groups:
            seeds = SEED_POLICIES[method.seed_policy](slots, present, merge, groups)
            number = torch.arange(groups, device=hidden.device)
            used = number < merge
            group = assign(waiting.hidden, seeds, used)
            merged = mean_merge(waiting.hidden, present, group, groups)
            waiting = Bypassed(
                slots, present, waiting.hidden, group, slots.gather(1, seeds), merged
            )
            # Merged tokens stand behind the others in the pool; their seeds' columns point there.
            at = columns.gather(1, seeds).masked_fill(
                ~used, order.shape[1]
            )  # one column too many takes the unused
            pool = torch.cat([hidden, merged], dim=1)
            source = _put(source, at, hidden.shape[1] + number)
            seeded = _put(seeded, at, torch.ones_like(used))

    lengths = schedule.lengths(stage)
    length = max(lengths)
    picked, valid = compact(staying | seeded, length)
    call.tokens = Tokens(
        slots=tokens.slots.gather(1, picked),
        valid=valid,
        candidates=(chosen | seeded).gather(1, picked) & valid,
        last=torch.full_like(tokens.last, length - 1),
        whole=False,
    )
    call.waiting = waiting if method.bypass and not final else None
    call.rope = None
    call.segments.append(Segment(cut, length, valid if min(lengths) < length else None))
    if on_stage is not None:
        on_stage(StageEvent.make(call, stage, layer, cut, tokens.slots, chosen, seeded))
    return gather_tokens(pool, source.gather(1, picked))


def _put(row: Tensor, at: Tensor, value: Tensor) -> Tensor:
    """A copy of `row` `(B, n)` with `value` at columns `at` `(B, Z)`; column n is nowhere."""
    return torch.cat([row, row[:, :1]], dim=1).scatter(1, at, value.expand_as(at))[:, :-1]
