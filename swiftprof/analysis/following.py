"""Following bypassed tokens from stage to stage, in the unpruned and in the pruned run.

Written apart from the runtime, from what its events and hooks show, so that one checks the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.stages import cut_layers
from swiftprof.errors import SwiftprofError
from swiftprof.methods import create
from swiftprof.planning.plan_file import Plan
from swiftprof.runtime.decoder import locate
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace


@dataclass(frozen=True)
class Followed:
    """One sample from one stage to the next; rows are bypassed tokens, hidden size D.

    Attributes:
        group: `(R,)`, group number of each.
        change: `(R, D)`, in the unpruned model.
        mean: `(Z, D)`, mean of each group.
        merged: `(Z, D)`, change of the merged tokens.
        state, stale, true: `(R, D)`, returned, unaligned and unpruned hidden states.
    """

    group: Tensor
    change: Tensor
    mean: Tensor
    merged: Tensor
    state: Tensor
    stale: Tensor
    true: Tensor


def follow(
    vanilla: Sequence[Tensor],
    pruned: Sequence[Tensor],
    present: Sequence[Tensor],
    groups: Sequence[Tensor],
) -> list[Followed]:
    """Follow one prompt's bypassed tokens, stage by stage; written apart from the runtime.

    Args:
        vanilla: per stage `(L, D)` float32, the unpruned model's hidden states where the stage
            acts.
        pruned: the same of the pruned run before the stage brings tokens back, `(n_j, D)`.
        present: per stage `(n_j,)` slots of the rows of `pruned`; all slots at the first.
        groups: per stage but the last `(L,)`, slot of the merged token that stands for a token, -1
            elsewhere.
    """
    state = pruned[0].new_zeros(vanilla[0].shape)
    state[present[0]] = pruned[0]
    out = []
    for j, group in enumerate(groups):
        rest = (group >= 0).nonzero()[:, 0]
        seeds, number = torch.unique(group[rest], return_inverse=True)
        member = torch.nn.functional.one_hot(number, len(seeds)).float()  # (R, Z)
        share = (member / member.sum(0)).T
        then = share @ state[rest]
        now = pruned[j + 1].new_zeros(vanilla[0].shape)
        now[present[j + 1]] = pruned[j + 1]
        merged = now[seeds] - then
        change = vanilla[j + 1][rest] - vanilla[j][rest]
        stale = state[rest]
        returned = stale + merged[number]
        true = vanilla[j + 1][rest]
        out.append(Followed(number, change, share @ change, merged, returned, stale, true))
        state = now
        state[rest] = returned
    return out


@torch.inference_mode()
def run_batch(
    model: Any, inputs: dict[str, Any], plan: Plan, image_token_id: int
) -> list[list[Followed]]:
    """Run a batch unpruned and pruned: per row what `follow` says."""
    layers = locate(model).layers
    options: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": 1}
    cuts = cut_layers(plan.stages, create(plan.method, plan.options).first)
    with _outputs(layers, cuts) as vanilla:
        model.generate(**inputs, **options)
    trace = Trace()
    with prune(model, plan, on_stage=trace), _outputs(layers, cuts) as pruned:
        model.generate(**inputs, **options)
    events = trace.prefills[0].events
    valid = inputs["attention_mask"].bool()
    visual = (inputs["input_ids"] == image_token_id) & valid
    out = []
    for row in range(len(valid)):
        present = [valid[row].nonzero()[:, 0]]
        for event in events[:-1]:
            there = (valid[row] & ~visual[row]) | event.kept[row] | event.merged[row]
            present.append(there.nonzero()[:, 0])
        states = [
            hidden[row, hidden.shape[1] - len(slots) :].float()  # right-aligned
            for hidden, slots in zip(pruned, present, strict=True)
        ]
        groups = []
        for event in events[:-1]:
            if event.group is None:
                raise SwiftprofError("plan: its stages merge nothing, so there is no offset")
            groups.append(event.group[row])
        out.append(follow([h[row].float() for h in vanilla], states, present, groups))
    return out


@contextmanager
def _outputs(layers: Sequence[nn.Module], cuts: Sequence[int]) -> Iterator[list[Tensor]]:
    """Outputs during a prefill of the layers before each cut, `(B, n, D)` each."""
    seen: list[Tensor] = [torch.empty(0)] * len(cuts)

    def hook(place: int) -> Any:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.shape[1] > 1:
                seen[place] = hidden

        return keep

    handles = [layers[cut - 1].register_forward_hook(hook(j)) for j, cut in enumerate(cuts)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
