"""What a pruned model has to compute, by a plain one: dropped tokens masked out from their cut on.

One eager pass over a whole conversation, prompts and answers, of the model as Hugging Face made it.
No token ever leaves the sequence: hooks hide dropped tokens from a layer's attention map, put the
mean of a group in a seed's place, and put bypassed tokens back. Which tokens stay is read from the
layers' own attention maps, with lists and loops. Nothing of the library is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

HIDDEN = torch.finfo(torch.float32).min


@dataclass
class Turn:
    """A prompt in a conversation.

    Attributes:
        visual: slots of its visual tokens.
        last: slot of its last token, which judges.
        plan: how its visual tokens are pruned.
        alive: those that are there now.
        groups: seed to members, of the latest stage.
        then: the merged tokens as they left.
        waiting: bypassed tokens as they left.
        scores: of the first stage, where its layer has run before it cuts.
    """

    visual: list[int]
    last: int
    plan: Any
    alive: list[int] = field(default_factory=list)
    groups: dict[int, list[int]] = field(default_factory=dict)
    then: dict[int, Tensor] = field(default_factory=dict)
    waiting: dict[int, Tensor] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)


def share(fraction: float, total: int) -> int:
    return int(fraction * total + 0.5)


class Masked:
    """One row's conversation through one model; see `masked_logits`."""

    def __init__(self, model: Any, turns: Sequence[Turn], rows: int) -> None:
        self.model, self.turns, self.length = model, turns, rows
        self.layers = list(model.get_decoder().layers)
        self.kept: list[list[list[int]]] = [[] for _ in turns]
        for turn in turns:
            turn.alive = list(turn.visual)

    def mask(self) -> Tensor:
        """Causal, without the dropped tokens; those see themselves, so that no row is empty."""
        mask = torch.full((self.length, self.length), HIDDEN).triu(1)
        for turn in self.turns:
            for slot in set(turn.visual) - set(turn.alive):
                mask[:, slot] = HIDDEN
                mask[slot, slot] = 0
        return mask[None, None]

    def hook(self, index: int) -> Any:
        def before(layer: Any, args: Any, kwargs: Any) -> Any:
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            for number, turn in enumerate(self.turns):
                for j, stage in enumerate(turn.plan.stages):
                    after = j == 0 and turn.plan.options.get("first") != "before"
                    if index == stage.layer - (not after):
                        self.stage(number, j, layer, hidden, kwargs)
                    if after and index == stage.layer - 1:
                        turn.scores = self.score(turn, layer, hidden, kwargs)
            changed = {**kwargs, "attention_mask": self.mask().to(hidden.dtype)}
            if args:
                return (hidden, *args[1:]), changed
            return args, {**changed, "hidden_states": hidden}

        return before

    def score(self, turn: Turn, layer: Any, hidden: Tensor, kwargs: Any) -> list[float]:
        given = {**kwargs, "attention_mask": self.mask(), "past_key_values": None}
        given.pop("hidden_states", None)
        _, maps = layer.self_attn(hidden_states=layer.input_layernorm(hidden), **given)[:2]
        return maps[0, :, turn.last].mean(0).tolist()

    def stage(self, number: int, j: int, layer: Any, hidden: Tensor, kwargs: Any) -> None:
        turn = self.turns[number]
        plan, total = turn.plan, len(turn.visual)
        bypass = plan.method == "swiftvlm"
        final = j == len(plan.stages) - 1
        for seed, members in turn.groups.items():
            offset = hidden[0, seed] - turn.then[seed]
            for slot in members:
                turn.waiting[slot] = turn.waiting[slot] + offset
        for slot, state in turn.waiting.items():
            hidden[0, slot] = state
        if bypass:
            turn.alive = list(turn.visual)
        turn.waiting, turn.groups, turn.then = {}, {}, {}
        own = j > 0 or plan.options.get("first") == "before"
        scores = self.score(turn, layer, hidden, kwargs) if own else turn.scores
        ranked = sorted(turn.alive, key=lambda slot: (-scores[slot], slot))
        keep = max(1, share(plan.stages[j].keep, total))
        kept, rest = ranked[:keep], ranked[keep:]
        merges = plan.method in ("swiftvlm", "merge") and not (bypass and final)
        seeds = rest[: share(plan.stages[j].merge, total) if merges else 0]
        turn.groups = {seed: [] for seed in seeds}
        for slot in rest if seeds else []:
            like = [torch.cosine_similarity(hidden[0, slot], hidden[0, s], dim=0) for s in seeds]
            nearest = seeds[int(torch.stack(like).argmax())]
            turn.groups[slot if slot in turn.groups else nearest].append(slot)
        if bypass and not final:
            turn.waiting = {slot: hidden[0, slot].clone() for slot in rest}
        turn.then = {
            seed: hidden[0, members].mean(0).clone() for seed, members in turn.groups.items()
        }
        for seed, merged in turn.then.items():
            hidden[0, seed] = merged
        if not bypass:
            turn.groups, turn.then = {}, {}
        turn.alive = sorted(kept + seeds)
        self.kept[number].append(sorted(kept))


@torch.no_grad()
def masked_logits(
    model: Any, inputs: dict[str, Any], plans: Sequence[Any], ends: Sequence[int], image: Any
) -> Tensor:
    """Logits at every slot of one row's conversation: `(L, vocabulary)`.

    Args:
        model: the plain model; not being pruned.
        inputs: the whole conversation: ids `(1, L)`, all images, no padding.
        plans: how the visual tokens of each turn are pruned; methods swiftvlm, merge and drop.
        ends: slots of the last token of each turn's prompt.
        image: token ids of image and video features.
    """
    ids = inputs["input_ids"][0].tolist()
    turns, start = [], 0
    for plan, end in zip(plans, ends, strict=True):
        visual = [s for s in range(start, end) if ids[s] in image]
        turns.append(Turn(visual, end, plan))
        start = end + 1
    run = Masked(model, [turn for turn in turns if turn.visual], len(ids))
    handles = [
        layer.register_forward_pre_hook(run.hook(i), with_kwargs=True)
        for i, layer in enumerate(run.layers)
    ]
    before = model.get_decoder().config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        return model(**inputs, use_cache=False).logits[0]
    finally:
        model.set_attn_implementation(before)
        for handle in handles:
            handle.remove()
