"""Shared by the runtime tests: generation with logits, and a plain recompute to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from swiftprof.runtime.prune import prune


@torch.no_grad()
def _generate(model: Any, inputs: dict[str, torch.Tensor], plan: Any = None, **options: Any) -> Any:
    settings = {
        "max_new_tokens": 5,
        "min_new_tokens": 5,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
        **options,
    }
    if plan is None:
        return model.generate(**inputs, **settings)
    with prune(model, plan):
        return model.generate(**inputs, **settings)


@pytest.fixture(scope="session")
def generate() -> Callable[..., Any]:
    """`generate(model, inputs, plan=None, **options)`: greedy, 5 tokens, with raw logits."""
    return _generate


@pytest.fixture(scope="session")
def logits_of() -> Callable[[Any], torch.Tensor]:
    """Raw logits of a generation as `(B, steps, vocabulary)`."""
    return lambda out: torch.stack(out.logits, 1)


def _attention_inputs(model: Any, layer: Any, hidden: list, slots: list[int]) -> tuple:
    """Queries, keys and values per head, positions applied one token at a time."""
    attention, config = layer.self_attn, model.config.text_config
    half = attention.head_dim // 2
    base = (config.rope_parameters or {}).get("rope_theta", 10000.0)
    frequency = torch.tensor([base ** (-i / half) for i in range(half)])

    def rotate(vector: torch.Tensor, slot: int) -> torch.Tensor:
        angle = slot * frequency
        first, second = vector[:, :half], vector[:, half:]
        return torch.cat(
            [
                first * angle.cos() - second * angle.sin(),
                second * angle.cos() + first * angle.sin(),
            ],
            dim=1,
        )

    queries, keys, values = [], [], []
    for state, slot in zip(hidden, slots, strict=True):
        normed = layer.input_layernorm(state)
        q = attention.q_proj(normed).view(-1, attention.head_dim)
        k = attention.k_proj(normed).view(-1, attention.head_dim)
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm(q), attention.k_norm(k)
        queries.append(rotate(q, slot))
        keys.append(rotate(k, slot))
        values.append(attention.v_proj(normed).view(-1, attention.head_dim))
    return queries, keys, values


def _attend(query: torch.Tensor, keys: list) -> torch.Tensor:
    """Attention probabilities of one token over some keys: (heads, number of keys)."""
    per_group = query.shape[0] // keys[0].shape[0]
    rows = []
    for head in range(query.shape[0]):
        dots = torch.stack([query[head] @ key[head // per_group] for key in keys])
        rows.append((dots / query.shape[1] ** 0.5).softmax(0))
    return torch.stack(rows)


def _layer(model: Any, layer: Any, hidden: list, slots: list[int]) -> list:
    queries, keys, values = _attention_inputs(model, layer, hidden, slots)
    per_group = queries[0].shape[0] // keys[0].shape[0]
    result = []
    for t, state in enumerate(hidden):
        weights = _attend(queries[t], keys[: t + 1])
        heads = [
            sum(weights[h, s] * values[s][h // per_group] for s in range(t + 1))
            for h in range(weights.shape[0])
        ]
        state = state + layer.self_attn.o_proj(torch.cat(heads))
        result.append(state + layer.mlp(layer.post_attention_layernorm(state)))
    return result


def _half_up(value: float) -> int:
    return int(value + 0.5)


@torch.no_grad()
def _recompute(
    model: Any, ids: torch.Tensor, pixels: torch.Tensor, plan: Any, new: torch.Tensor
) -> torch.Tensor:
    """Logits for the token after the prompt and after each new token, without any cache.

    One prompt `(length,)`, lists and loops, one token at a time: slow and plain on purpose. Shares
    no code with the library. Returns `(1 + len(new), vocabulary)`.
    """
    embedding = model.get_input_embeddings()
    features = model.get_image_features(pixel_values=pixels)
    features = list(torch.cat(list(getattr(features, "pooler_output", features))))
    visual = [p for p, token in enumerate(ids.tolist()) if token == model.config.image_token_id]
    at = {slot: features[number] for number, slot in enumerate(visual)}
    sequence = torch.cat([ids, new])
    state = {slot: at.get(slot, embedding(sequence[slot])) for slot in range(len(sequence))}
    last, everyone = len(ids) - 1, list(range(len(sequence)))
    bypass = plan.method == "swiftvlm"
    merges = bypass or plan.method == "merge"
    before = plan.options.get("first") == "before"
    share = plan.options.get("spread", 0.0)
    groups: dict[int, list[int]] = {}  # seed -> members
    merged_then: dict[int, torch.Tensor] = {}
    waiting: dict[int, torch.Tensor] = {}  # bypassed slot -> state when it left
    total, alive, present = len(visual), list(visual), everyone
    text = model.get_decoder()

    def scores(layer: Any) -> dict[int, float]:
        seen = [slot for slot in present if slot <= last]
        queries, keys, _ = _attention_inputs(model, layer, [state[s] for s in seen], seen)
        row = _attend(queries[-1], keys).mean(0)
        return dict(zip(seen, row.tolist(), strict=True))

    def spread(chosen: list[int], number: int, seen: dict[int, torch.Tensor]) -> list[int]:
        """More tokens, each the least similar to all before as the judging layer saw them."""
        chosen = list(chosen)
        while len(chosen) < number:
            nearest = {
                slot: max(
                    torch.cosine_similarity(seen[slot], seen[c], dim=0).item() for c in chosen
                )
                for slot in alive
                if slot not in chosen
            }
            chosen.append(min(nearest, key=lambda slot: (nearest[slot], slot)))
        return chosen

    def select(j: int, stage: Any, score: dict[int, float], seen: dict[int, torch.Tensor]) -> None:
        nonlocal alive, present, groups, merged_then, waiting
        final = j == len(plan.stages) - 1
        ranked = sorted(alive, key=lambda slot: (-score[slot], slot))
        number = min(len(alive), max(1, _half_up(stage.keep * total)))
        best = min(number, max(1, _half_up(number * (1 - share))))
        keep = spread(ranked[:best], number, seen)
        rest = [slot for slot in ranked if slot not in keep]
        count = min(len(rest), _half_up(stage.merge * total))
        if not merges or (final and bypass):
            count = 0
        seeds = rest[:count]
        groups = {seed: [] for seed in seeds}
        for slot in rest if seeds else []:
            like = [torch.cosine_similarity(state[slot], state[s], dim=0).item() for s in seeds]
            groups[slot if slot in groups else seeds[like.index(max(like))]].append(slot)
        waiting = {slot: state[slot] for slot in rest} if bypass and not final else {}
        merged_then = {
            seed: sum(state[s] for s in members) / len(members) for seed, members in groups.items()
        }
        state.update(merged_then)
        alive = sorted(keep + seeds)
        present = [s for s in everyone if s not in visual or s in alive]

    first_scores: dict[int, float] = {}
    first_seen: dict[int, torch.Tensor] = {}
    for number, layer in enumerate(text.layers, start=1):  # layers count from 1, as in plans
        for j, stage in enumerate(plan.stages):
            if j == 0 and not before and number == stage.layer + 1:  # the first: after its layer
                select(j, stage, first_scores, first_seen)
            if (j > 0 or before) and number == stage.layer:  # the later ones: before theirs
                moved = {
                    slot: before + (state[seed] - merged_then[seed])
                    for seed, members in groups.items()
                    for slot, before in ((s, waiting[s]) for s in members if bypass)
                }
                state.update({**waiting, **moved})
                if bypass:
                    alive, present = list(visual), everyone
                select(j, stage, scores(layer), dict(state))
        if plan.stages and number == plan.stages[0].layer:
            first_scores, first_seen = scores(layer), dict(state)
        after = _layer(model, layer, [state[s] for s in present], present)
        state.update(zip(present, after, strict=True))
    return torch.stack([model.lm_head(text.norm(state[s])) for s in everyone if s >= last])


@pytest.fixture(scope="session")
def recompute() -> Callable[..., torch.Tensor]:
    """The plain recompute; see `_recompute`."""
    return _recompute
