"""Every way to generate works on a pruned model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.prune import prune

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))


def test_beam_search_scores_equal_a_teacher_forced_recompute(
    llava: Any,
    prompts: Any,
    plan_of: Any,
    generate: Any,
    recompute: Any,
) -> None:
    plan = plan_of(*THREE)
    out = generate(
        llava, prompts.batch(0, 1), plan, num_beams=3, output_scores=True, length_penalty=0.0
    )
    for row in range(2):
        tail = out.sequences[row, -5:]
        pixels = prompts.pixels[row : row + 1]
        logits = recompute(llava, prompts.ids[row], pixels, plan, tail[:-1])
        expected = logits.log_softmax(-1).gather(1, tail[:, None]).sum()
        assert abs(expected - out.sequences_scores[row]) < 1e-3


def test_sampling_is_reproducible_and_several_sequences_per_prompt_work(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, recompute: Any
) -> None:
    plan, options = plan_of(*THREE), {"do_sample": True, "num_return_sequences": 2}
    torch.manual_seed(3)
    first = generate(llava, prompts.batch(0, 1), plan, **options)
    torch.manual_seed(3)
    second = generate(llava, prompts.batch(0, 1), plan, **options)
    assert torch.equal(first.sequences, second.sequences)
    assert not torch.equal(first.sequences[0], first.sequences[1])
    logits = torch.stack(first.logits, 1)
    for row in range(4):
        prompt = row // 2
        new, pixels = first.sequences[row, -5:-1], prompts.pixels[prompt : prompt + 1]
        expected = recompute(llava, prompts.ids[prompt], pixels, plan, new)
        assert (logits[row] - expected).abs().max() < 1e-4


def test_generation_without_cache_equals_generation_with_cache_at_the_first_token(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    plan = plan_of(*THREE)
    cached = logits_of(generate(llava, prompts.batch(0, 1), plan))
    plain = logits_of(generate(llava, prompts.batch(0, 1), plan, use_cache=False))
    assert (cached[:, 0] - plain[:, 0]).abs().max() < 1e-5


def test_prompt_lookup_decoding_equals_greedy(
    llava: Any, prompts: Any, plan_of: Any, generate: Any
) -> None:
    plan = plan_of(*THREE)
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "eos_token_id": 125}
    greedy = generate(llava, prompts.batch(0), plan, **options).sequences
    lookup = generate(llava, prompts.batch(0), plan, prompt_lookup_num_tokens=3, **options)
    assert torch.equal(greedy, lookup.sequences)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_half_precision_runs_and_is_finite(
    llava: Any,
    prompts: Any,
    plan_of: Any,
    generate: Any,
    logits_of: Any,
    attn: str,
    dtype: torch.dtype,
) -> None:
    llava.set_attn_implementation(attn)
    inputs, plan = prompts.batch(0, 1, 2), plan_of(*THREE)
    exact = logits_of(generate(llava, inputs, plan))
    half = {**inputs, "pixel_values": inputs["pixel_values"].to(dtype)}
    out = logits_of(generate(llava.to(dtype), half, plan))
    assert torch.isfinite(out).all()
    assert torch.corrcoef(torch.stack([out[:, 0].float().flatten(), exact[:, 0].flatten()]))[
        0, 1
    ] > (0.9)


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_prompt_without_an_image_passes_through_untouched(
    llava: Any, plan_of: Any, generate: Any, logits_of: Any, use_cache: bool
) -> None:
    ids = torch.tensor([[0, 0, 5, 6, 7], [3, 4, 5, 6, 7]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    vanilla = generate(llava, inputs, use_cache=use_cache)
    pruned = generate(llava, inputs, plan_of(*THREE), use_cache=use_cache)
    assert torch.equal(logits_of(vanilla), logits_of(pruned))


def test_several_calls_in_one_block_do_not_see_each_other(
    llava: Any, prompts: Any, plan_of: Any, generate: Any
) -> None:
    plan = plan_of(*THREE)
    options = {"max_new_tokens": 5, "do_sample": False}
    alone = [generate(llava, prompts.batch(i), plan).sequences for i in range(3)]
    with prune(llava, plan), torch.no_grad():
        for i in (0, 1, 2, 0):
            assert torch.equal(llava.generate(**prompts.batch(i), **options), alone[i])
        caches = [llava(**prompts.batch(i)).past_key_values for i in (0, 1)]
        tokens = [alone[i][:, len(prompts.ids[i])].view(1, 1) for i in (0, 1)]
        for i in (1, 0):  # two requests, their steps interleaved
            out = llava(input_ids=tokens[i], past_key_values=caches[i])
            assert out.logits[:, -1].argmax() == alone[i][0, len(prompts.ids[i]) + 1]


def test_threads_share_one_block(llava: Any, prompts: Any, plan_of: Any, generate: Any) -> None:
    plan = plan_of(*THREE)
    alone = [generate(llava, prompts.batch(i), plan).sequences for i in range(3)]

    def work(i: int) -> torch.Tensor:
        return llava.generate(**prompts.batch(i), max_new_tokens=5, do_sample=False)

    with prune(llava, plan), ThreadPoolExecutor(3) as pool:
        results = list(pool.map(work, [0, 1, 2] * 3))
    assert all(torch.equal(results[n], alone[n % 3]) for n in range(9))


def test_the_last_prompt_token_survives_even_if_it_is_visual(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    ids = torch.cat([torch.tensor([3, 4, 5]), torch.full((36,), 127)])[None]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": prompts.pixels[:1],
    }
    out = generate(llava, inputs, plan_of((2, 0.1)))
    assert out.past_key_values.get_seq_length(7) == 3 + 4 + 1 + 4  # text, kept of 35, last, new
    assert torch.isfinite(logits_of(out)).all()


def test_a_cache_whose_rows_differ_is_not_used_with_another_number(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    with prune(llava, plan_of(*THREE)), torch.no_grad():
        cache = llava(**prompts.batch(0, 1)).past_key_values
        cache.batch_select_indices(torch.tensor([0]))
        with pytest.raises(SwiftprofError, match="filled with 2 rows and is used with 1"):
            llava(input_ids=torch.tensor([[5]]), past_key_values=cache)
