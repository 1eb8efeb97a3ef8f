"""Pruning is exact in every family: its own positions, newline tokens, tiles and deep features."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.prune import prune
from tests.families.conftest import PICTURES

NEW = 4
THREE = ((4, 0.5, 0.1), (6, 0.3, 0.1), (8, 0.1))
DROP = ((3, 0.5), (5, 0.3), (8, 0.1))
ROWS = (0, 1, 2, 3)


@torch.no_grad()
def generate(case: Any, rows: tuple[int, ...], plan: Any = None, **options: Any) -> Any:
    settings = {
        "max_new_tokens": NEW,
        "min_new_tokens": NEW,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
        **options,
    }
    if plan is None:
        return case.model.generate(**case.batch(*rows), **settings)
    with prune(case.model, plan):
        return case.model.generate(**case.batch(*rows), **settings)


def logits(case: Any, rows: tuple[int, ...], plan: Any = None) -> torch.Tensor:
    return torch.stack(generate(case, rows, plan).logits, 1)


@torch.no_grad()
def replay(case: Any, row: int, plan: Any, new: torch.Tensor) -> torch.Tensor:
    """Logits after the prompt and after each new token, as the paper says, without a cache.

    Up to the first stage nothing is pruned: the model's own forward gives those states, and the
    rotary tables. From there on its layers are called on the tokens present, and chosen, merged
    and restored tokens are kept in lists and dictionaries.
    """
    prompt = case.batch(row)
    inputs, last = case.extended(prompt, new), prompt["input_ids"].shape[1] - 1
    layers, seen = case.model.get_decoder().layers, {}

    def note(i: int) -> Any:
        def hook(_: Any, args: Any, kwargs: Any) -> None:
            seen[i], seen["rope"] = args[0][0], kwargs["position_embeddings"]

        return hook

    hooks = [
        layer.register_forward_pre_hook(note(i), with_kwargs=True) for i, layer in enumerate(layers)
    ]
    with case.eager() as model:
        model(**inputs, use_cache=False)
        for hook in hooks:
            hook.remove()
        cos, sin = seen["rope"]
        everyone = list(range(inputs["input_ids"].shape[1]))
        visual = case.visual(prompt)[0].nonzero().flatten().tolist()
        first, total, bypass = plan.stages[0].layer, len(visual), plan.method == "swiftvlm"
        state = dict(enumerate(seen[first]))
        alive, present, merged, waiting = visual, everyone, {}, {}

        def given(slots: list[int]) -> dict[str, Any]:
            n = len(slots)
            causal = torch.full((n, n), float("-inf")).triu(1)[None, None]
            rope = cos[..., slots, :], sin[..., slots, :]
            return {"attention_mask": causal, "position_embeddings": rope}

        def score(number: int, hidden: dict[int, Any]) -> dict[int, float]:
            slots = [s for s in present if s <= last]
            layer = layers[number - 1]
            normed = layer.input_layernorm(torch.stack([hidden[s] for s in slots])[None])
            maps = layer.self_attn(hidden_states=normed, past_key_values=None, **given(slots))[1]
            return dict(zip(slots, maps[0, :, -1].mean(0).tolist(), strict=True))

        for number in range(1, len(layers) + 1):
            for j, stage in enumerate(plan.stages):
                if number != (stage.layer + 1 if j == 0 else stage.layer):
                    continue
                if j == 0:
                    scores = score(first, dict(enumerate(seen[first - 1])))
                else:
                    for seed, (members, then) in merged.items():
                        for s in members:
                            waiting[s] = waiting[s] + state[seed] - then
                    state.update(waiting)
                    if bypass:
                        alive, present = visual, everyone
                    scores = score(number, state)
                ranked = sorted(alive, key=lambda s: (-scores[s], s))
                keep = max(1, int(stage.keep * total + 0.5))
                kept, rest = ranked[:keep], ranked[keep:]
                groups = 0 if j == len(plan.stages) - 1 else int(stage.merge * total + 0.5)
                seeds = rest[:groups]
                members_of: dict[int, list[int]] = {seed: [] for seed in seeds}
                for s in rest if seeds else []:
                    like = [torch.cosine_similarity(state[s], state[t], dim=0) for t in seeds]
                    nearest = seeds[int(torch.stack(like).argmax())]
                    members_of[s if s in members_of else nearest].append(s)
                waiting = {s: state[s] for s in rest} if bypass else {}
                merged = {
                    seed: (them, sum(state[s] for s in them) / len(them))
                    for seed, them in members_of.items()
                }
                state.update({seed: mean for seed, (_, mean) in merged.items()})
                alive = sorted(kept + seeds)
                present = [s for s in everyone if s not in visual or s in alive]
            if number > first:
                out = layers[number - 1](
                    torch.stack([state[s] for s in present])[None], **given(present)
                )
                out = out[0] if isinstance(out, tuple) else out
                state.update(zip(present, out[0], strict=True))
        final = torch.stack([state[s] for s in everyone if s >= last])
        return model.get_output_embeddings()(model.get_decoder().norm(final))


def test_keeping_everything_is_vanilla_bit_for_bit(case: Any, plan_of: Any) -> None:
    plan = plan_of((4, 1.0), (6, 1.0))
    for attn in ("sdpa", "eager"):
        case.model.set_attn_implementation(attn)
        assert torch.equal(logits(case, ROWS), logits(case, ROWS, plan)), attn
    case.model.set_attn_implementation("sdpa")


@pytest.mark.parametrize(("method", "stages"), [("swiftvlm", THREE), ("drop", DROP)])
def test_cached_equals_uncached(case: Any, plan_of: Any, method: str, stages: Any) -> None:
    plan = plan_of(*stages, method=method)
    for row in (0, 1):
        out = generate(case, (row,), plan)
        new = out.sequences[0, case.batch(row)["input_ids"].shape[1] : -1]
        got, wanted = torch.stack(out.logits, 1)[0], replay(case, row, plan, new)
        assert (got - wanted).abs().max() < 2e-4
        assert (got - logits(case, (row,))[0]).abs().max() > 0.02  # the plan does prune


@pytest.mark.parametrize(("method", "stages"), [("swiftvlm", THREE), ("drop", DROP)])
def test_a_padded_batch_equals_single_rows(
    case: Any, plan_of: Any, method: str, stages: Any
) -> None:
    """Rows with one image, two, another one and none: all numbers of visual tokens differ."""
    plan = plan_of(*stages, method=method)
    counts = case.visual(case.batch(*ROWS)).sum(1).tolist()
    assert counts[3] == 0
    assert case.name == "llava" or len(set(counts)) > 2
    together = logits(case, ROWS, plan)
    for row in ROWS:
        assert (together[row] - logits(case, (row,), plan)[0]).abs().max() < 5e-4


def test_layers_hold_caches_of_the_planned_lengths(case: Any, plan_of: Any) -> None:
    cache = generate(case, (1,), plan_of(*DROP, method="drop")).past_key_values
    inputs = case.batch(1)
    n = int(case.visual(inputs).sum())
    text = inputs["input_ids"].shape[1] - n + NEW - 1
    after = [max(1, int(keep * n + 0.5)) for _, keep in DROP]
    visual = [n] * 3 + [after[0]] + [after[1]] * 3 + [after[2]]
    assert [cache.get_seq_length(i) for i in range(8)] == [text + v for v in visual]


def test_a_prompt_without_an_image_passes_through_untouched(case: Any, plan_of: Any) -> None:
    assert torch.equal(logits(case, (3,)), logits(case, (3,), plan_of(*THREE)))


def test_the_model_is_clean_afterwards(case: Any, plan_of: Any) -> None:
    before = logits(case, ROWS)  # transformers may leave hooks of its own here

    def traces() -> dict[str, Any]:
        return {
            name: (set(vars(m)), list(m._forward_pre_hooks), list(m._forward_hooks))
            for name, m in case.model.named_modules()
        }

    clean = traces()
    logits(case, ROWS, plan_of(*THREE))
    assert traces() == clean
    assert torch.equal(before, logits(case, ROWS))


def test_deep_features_have_to_be_in_before_pruning(build: Any, plan_of: Any) -> None:
    """Qwen3-VL adds vision features after its first three layers, to the full sequence."""
    model = build("qwen3_vl").model
    prune(model, plan_of((3, 0.5)))
    with pytest.raises(SwiftprofError, match="after its first 3 layers"):
        prune(model, plan_of((2, 0.5)))


@pytest.mark.parametrize(("method", "stages"), [("swiftvlm", THREE), ("drop", DROP)])
def test_assisted_decoding_equals_greedy_search(
    case: Any, plan_of: Any, method: str, stages: Any
) -> None:
    """The prompt's last word stands in it before, so candidates come with the first call."""
    inputs = case.vlm.inputs([PICTURES[0]], ["w99 w5 w6 w7 w8"])
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "eos_token_id": 2}
    with prune(case.model, plan_of(*stages, method=method)):
        greedy = case.model.generate(**inputs, **options)
        lookup = case.model.generate(**inputs, **options, prompt_lookup_num_tokens=3)
    assert torch.equal(greedy, lookup)


@torch.no_grad()
def test_other_caches_give_what_a_growing_one_gives(case: Any, plan_of: Any) -> None:
    plan = plan_of(*THREE)
    grown = generate(case, (0, 1), plan)
    for options in ({"use_cache": False}, {"cache_implementation": "static"}):
        other = generate(case, (0, 1), plan, **options)
        assert torch.equal(grown.sequences, other.sequences)
        assert (torch.stack(grown.logits) - torch.stack(other.logits)).abs().max() < 5e-4
    lengths = [
        [layer.keys.shape[2] for layer in out.past_key_values.layers] for out in (grown, other)
    ]
    assert lengths[0] == lengths[1]
