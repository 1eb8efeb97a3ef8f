"""Pruned runs equal what they should equal: vanilla, a plain recompute, each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swiftprof.core.counts import kept_count, merged_count
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))
PLANS = {
    "three stages": (THREE, {}),
    "one stage": (((2, 0.3),), {}),
    "merging far beyond keeping": (((1, 0.1, 0.5), (8, 0.03)), {}),
    "no merging": (((2, 0.5), (6, 0.2)), {}),
    "neighbouring layers": (((2, 0.4, 0.2), (3, 0.3, 0.1), (8, 0.2)), {}),
    "same count at both stages": (((3, 0.4, 0.1), (6, 0.4)), {}),
    "everything back in the middle": (((2, 0.3, 0.1), (5, 1.0), (7, 0.2)), {}),
    "dropping": (((3, 0.5), (5, 0.3), (7, 0.1)), {"method": "drop"}),
    "dropping at neighbours": (((2, 0.5), (3, 0.3), (4, 0.2)), {"method": "drop"}),
    "dropping nothing at last": (((2, 0.5), (5, 0.5)), {"method": "drop"}),
    "first before its layer": (THREE, {"first": "before"}),
    "before layer 1 and at neighbours": (
        ((1, 0.3, 0.1), (2, 0.3, 0.1), (3, 0.2)),
        {"first": "before"},
    ),
    "spread": (THREE, {"spread": 0.4}),
    "spread at every layer": (
        ((2, 0.5, 0.1), (3, 0.4), (4, 0.4, 0.1), (5, 0.3), (6, 0.2, 0.1), (7, 0.2), (8, 0.1)),
        {"first": "before", "spread": 0.35},
    ),
    "all spread": (((1, 0.3), (4, 0.2)), {"first": "before", "spread": 1.0}),
    "dropping, spread": (((3, 0.5), (5, 0.3)), {"method": "drop", "spread": 0.5}),
}


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("method", ["swiftvlm", "drop", "random", "uniform"])
def test_keeping_everything_is_vanilla_bit_for_bit(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any, attn: str, method: str
) -> None:
    llava.set_attn_implementation(attn)
    plan = plan_of((3, 1.0), (5, 1.0), method=method)
    vanilla = generate(llava, prompts.batch(0, 1, 2))
    pruned = generate(llava, prompts.batch(0, 1, 2), plan)
    assert torch.equal(logits_of(vanilla), logits_of(pruned))
    assert torch.equal(vanilla.sequences, pruned.sequences)


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("name", PLANS)
def test_cached_decoding_equals_a_recompute_without_cache(
    llava: Any,
    prompts: Any,
    plan_of: Any,
    generate: Any,
    logits_of: Any,
    recompute: Any,
    name: str,
    attn: str,
) -> None:
    llava.set_attn_implementation(attn)
    stages, options = PLANS[name]
    plan = plan_of(*stages, **options)
    out = generate(llava, prompts.batch(0), plan)
    new = out.sequences[0, len(prompts.ids[0]) : -1]
    expected = recompute(llava, prompts.ids[0], prompts.pixels[:1], plan, new)
    assert (logits_of(out)[0] - expected).abs().max() < 1e-4
    vanilla = logits_of(generate(llava, prompts.batch(0)))
    assert (logits_of(out) - vanilla).abs().max() > 0.05  # the plan does prune


@pytest.mark.parametrize("method", ["feather", "sparsevlm"])
def test_stages_that_the_layer_before_judges_may_cut_at_one_place(
    llava: Any, prompts: Any, plan_of: Any, method: str
) -> None:
    """The second stage keeps the best of what the first one kept, by the same layer."""
    options = {"positions": "kept"} if method == "sparsevlm" else {"stride": 100}
    both = plan_of((2, 0.5), (3, 0.2), method=method, **options)
    one = plan_of((2, 0.2), method=method, **options)
    traces = []
    for plan in (both, one):
        trace = Trace()
        with prune(llava, plan, on_stage=trace):
            llava(**prompts.batch(0, 1))
        traces.append(trace.prefills[0])
    for row in (0, 1):
        assert traces[0].kept(1, row) == traces[1].kept(0, row)
        assert len(traces[0].kept(0, row)) == 18
    assert traces[0].visual_per_layer(0, 8) == [36, 36, *[7] * 6]


@pytest.mark.parametrize("text", ["mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_other_text_models_equal_the_recompute(
    make_llava: Any,
    prompts: Any,
    plan_of: Any,
    generate: Any,
    logits_of: Any,
    recompute: Any,
    text: str,
    kv_heads: int,
) -> None:
    model = make_llava(text=text, kv_heads=kv_heads)
    plan = plan_of(*THREE)
    out = generate(model, prompts.batch(1), plan)
    new = out.sequences[0, len(prompts.ids[1]) : -1]
    expected = recompute(model, prompts.ids[1], prompts.pixels[1:2], plan, new)
    assert (logits_of(out)[0] - expected).abs().max() < 1e-4


def test_caches_have_the_planned_lengths(
    llava: Any, prompts: Any, plan_of: Any, generate: Any
) -> None:
    cache = generate(llava, prompts.batch(0), plan_of(*THREE)).past_key_values
    text, new = len(prompts.ids[0]) - 36, 4
    after = []
    for _, keep, *merge in THREE:
        kept = kept_count(keep, 36)
        after.append(kept + (merged_count(merge[0], 36, kept) if merge else 0))
    visual = [36] * 3 + [after[0]] + [after[1]] * 2 + [after[2]] * 2
    assert [cache.get_seq_length(i) for i in range(8)] == [text + v + new for v in visual]


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("method", ["swiftvlm", "drop", "random", "uniform"])
def test_a_padded_batch_gives_each_row_what_it_gets_alone(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any, method: str, attn: str
) -> None:
    llava.set_attn_implementation(attn)
    merge = 0.1 if method == "swiftvlm" else 0.0
    plan = plan_of((3, 0.5, merge), (5, 0.3, merge), (7, 0.1), method=method)
    together = logits_of(generate(llava, prompts.batch(0, 1, 2), plan))
    for row in range(3):
        alone = logits_of(generate(llava, prompts.batch(row), plan))
        assert (together[row] - alone[0]).abs().max() < 1e-4


def test_rows_with_different_numbers_of_images_share_a_batch(
    llava: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(3, 3, 24, 24, generator=generator)
    text = torch.randint(2, 120, (80,), generator=generator)
    image = torch.full((36,), 127)
    two = torch.cat([text[:4], image, text[4:7], image, text[7:15]])  # 2 images
    one = torch.cat([text[:30], image, text[30:51]])  # 1 image, equally long: no padding at all
    none = text[:60]
    width = len(two)
    assert len(one) == width
    ids = torch.stack([two, one, torch.cat([torch.zeros(width - 60).long(), none])])
    mask = torch.ones_like(ids)
    mask[2, : width - 60] = 0
    plan = plan_of(*THREE)

    def rows(*which: int) -> dict[str, torch.Tensor]:
        images = [pixels[:2], pixels[2:], pixels[:0]]
        some = {"input_ids": ids[list(which)], "attention_mask": mask[list(which)]}
        chosen = torch.cat([images[i] for i in which])
        return {**some, "pixel_values": chosen} if len(chosen) else some

    for group in ((0, 1), (0, 1, 2)):
        together = logits_of(generate(llava, rows(*group), plan))
        for place, row in enumerate(group):
            alone = logits_of(generate(llava, rows(row), plan))
            assert (together[place] - alone[0]).abs().max() < 1e-4
    vanilla = logits_of(generate(llava, rows(2)))
    assert torch.equal(logits_of(generate(llava, rows(2), plan)), vanilla)


def test_several_images_equal_the_recompute(
    llava: Any, plan_of: Any, generate: Any, logits_of: Any, recompute: Any
) -> None:
    generator = torch.Generator().manual_seed(6)
    pixels = torch.randn(2, 3, 24, 24, generator=generator)
    text = torch.randint(2, 120, (12,), generator=generator)
    image = torch.full((36,), 127)
    ids = torch.cat([text[:3], image, text[3:5], image, text[5:]])
    inputs = {
        "input_ids": ids[None],
        "attention_mask": torch.ones_like(ids)[None],
        "pixel_values": pixels,
    }
    plan = plan_of((2, 0.4, 0.1), (5, 0.2))
    out = generate(llava, inputs, plan)
    expected = recompute(llava, ids, pixels, plan, out.sequences[0, len(ids) : -1])
    assert (logits_of(out)[0] - expected).abs().max() < 1e-4


def test_a_plain_forward_returns_logits_for_every_slot(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    plan = plan_of(*THREE)
    inputs = prompts.batch(0, 1, 2)
    with prune(llava, plan), torch.no_grad():
        plain = llava(**inputs, use_cache=False).logits
        cached = llava(**inputs)
    assert plain.shape[:2] == inputs["input_ids"].shape
    assert torch.equal(plain, cached.logits)
    generated = logits_of(generate(llava, inputs, plan))
    assert (plain[:, -1] - generated[:, 0]).abs().max() < 1e-5


def test_right_padding_gives_the_same_last_logits(llava: Any, prompts: Any, plan_of: Any) -> None:
    plan, left = plan_of(*THREE), prompts.batch(0, 1)
    right = {k: v.clone() for k, v in left.items()}
    length = len(prompts.ids[1])
    for key in ("input_ids", "attention_mask"):
        right[key][1] = left[key][1].roll(length - left[key].shape[1])
    with prune(llava, plan), torch.no_grad():
        expected = llava(**left, use_cache=False).logits[:, -1]
        got = llava(**right, use_cache=False).logits
    assert (got[0, -1] - expected[0]).abs().max() < 1e-4
    assert (got[1, length - 1] - expected[1]).abs().max() < 1e-4


def test_a_manual_decoding_loop_needs_no_position_ids(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    plan = plan_of(*THREE)
    expected = generate(llava, prompts.batch(0), plan)
    tokens = expected.sequences[0, len(prompts.ids[0]) :]
    with prune(llava, plan), torch.no_grad():
        out = llava(**prompts.batch(0))
        steps = [out.logits[:, -1]]
        for token in tokens[:-1]:
            out = llava(input_ids=token.view(1, 1), past_key_values=out.past_key_values)
            steps.append(out.logits[:, -1])
    assert (torch.stack(steps, 1) - logits_of(expected)).abs().max() < 1e-5


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_more_text_on_a_pruned_cache_equals_token_by_token(
    llava: Any, prompts: Any, plan_of: Any, attn: str
) -> None:
    llava.set_attn_implementation(attn)
    plan = plan_of(*THREE)
    more = torch.tensor([[5, 9, 17, 33]])
    for rows in ((0,), (0, 1)):
        inputs = prompts.batch(*rows)
        text = more.expand(len(rows), -1)
        mask = inputs["attention_mask"]
        with prune(llava, plan), torch.no_grad():
            cache = llava(**inputs).past_key_values
            at_once = llava(
                input_ids=text,
                attention_mask=torch.cat([mask, torch.ones_like(text)], 1),
                past_key_values=cache,
            ).logits
            cache = llava(**inputs).past_key_values
            single = []
            for t in range(4):
                single.append(
                    llava(
                        input_ids=text[:, t : t + 1],
                        attention_mask=torch.cat([mask, torch.ones_like(text[:, : t + 1])], 1),
                        past_key_values=cache,
                    ).logits
                )
        assert (at_once - torch.cat(single, 1)).abs().max() < 1e-4


def test_padding_between_two_turns_is_not_seen(llava: Any, prompts: Any, plan_of: Any) -> None:
    """Rows of equal length, so the prompt has no padding, but one second turn is shorter."""
    ids = prompts.ids[0].repeat(2, 1)
    ids[1, -3] += 1
    inputs = {"input_ids": ids, "pixel_values": prompts.pixels[:2]}
    length = ids.shape[1]
    more = torch.tensor([[5, 9, 17], [0, 9, 17]])
    mask = torch.cat([torch.ones_like(ids), (more > 0).long()], 1)
    positions = torch.tensor([[0, 1, 2], [0, 0, 1]]) + length
    with prune(llava, plan_of(*THREE)), torch.no_grad():
        cache = llava(**inputs).past_key_values
        both = llava(
            input_ids=more, attention_mask=mask, position_ids=positions, past_key_values=cache
        ).logits
        alone = {k: v[1:] for k, v in inputs.items()}
        cache = llava(**alone).past_key_values
        one = llava(input_ids=more[1:, 1:], past_key_values=cache).logits
    assert (both[1, 1:] - one[0]).abs().max() < 1e-4


@pytest.mark.parametrize("method", ["swiftvlm", "drop", "uniform"])
def test_prompts_that_begin_with_an_image_share_a_batch(
    llava: Any, plan_of: Any, generate: Any, logits_of: Any, method: str
) -> None:
    """Column 0 is visual here, so padding must not be taken for a copy of it."""
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randn(3, 3, 24, 24, generator=generator)
    text = torch.randint(2, 120, (60,), generator=generator)
    image = torch.full((36,), 127)
    ids = torch.stack([torch.cat([image, image, text[:9]]), torch.cat([image, text[9:54]])])
    merge = 0.1 if method == "swiftvlm" else 0.0
    plan = plan_of((2, 0.6, merge), (5, 0.4, merge), (7, 0.2), method=method)
    images = [pixels[:2], pixels[2:]]

    def run(*rows: int) -> torch.Tensor:
        some = ids[list(rows)]
        chosen = torch.cat([images[i] for i in rows])
        mask = torch.ones_like(some)
        inputs = {"input_ids": some, "attention_mask": mask, "pixel_values": chosen}
        return logits_of(generate(llava, inputs, plan))

    together = run(0, 1)
    for row in range(2):
        assert (together[row] - run(row)[0]).abs().max() < 1e-4


def test_merging_for_good_equals_the_recompute(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any, recompute: Any
) -> None:
    """Merged tokens are candidates of the next stage, and do not come back."""
    plan = plan_of((2, 0.3, 0.3), (5, 0.2, 0.2), (7, 0.1, 0.1), method="merge")
    out = generate(llava, prompts.batch(0), plan)
    new = out.sequences[0, len(prompts.ids[0]) : -1]
    expected = recompute(llava, prompts.ids[0], prompts.pixels[:1], plan, new)
    assert (logits_of(out)[0] - expected).abs().max() < 1e-4


def test_a_crop_by_absolute_length_is_followed_in_all_layers(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    """Older versions of transformers crop rejected tokens so, which only fits full caches."""
    length = len(prompts.ids[0])

    def step(cache: Any, *tokens: int) -> torch.Tensor:
        return llava(input_ids=torch.tensor([tokens]), past_key_values=cache).logits[:, -1]

    with prune(llava, plan_of(*THREE)), torch.no_grad():
        cache = llava(**prompts.batch(0)).past_key_values
        step(cache, 5)
        expected = step(cache, 9)
        cache = llava(**prompts.batch(0)).past_key_values
        step(cache, 5, 44, 45)  # two tokens too many
        for layer in cache.layers:
            if (surplus := layer.get_seq_length() - (length + 1)) > 0:
                layer.crop(-surplus)
        assert (step(cache, 9) - expected).abs().max() < 1e-5


def test_with_bypass_the_last_stage_merges_nothing(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    outs = [
        generate(llava, prompts.batch(0), plan_of((3, 0.5, 0.1), (6, 0.2, last)))
        for last in (0.0, 0.3)
    ]
    assert torch.equal(logits_of(outs[0]), logits_of(outs[1]))
