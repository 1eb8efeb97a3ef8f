"""Static caches: the plan's length in every layer, the dynamic cache's answers, one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import StaticCache
from transformers.generation import CompileConfig

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.prune import prune

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))
STATIC = {"cache_implementation": "static"}


def lengths(out: Any) -> list[int]:
    return [layer.keys.shape[2] for layer in out.past_key_values.layers]


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("method", "stages", "options"),
    [
        ("swiftvlm", THREE, {}),
        ("swiftvlm", ((1, 0.5, 0.1), (2, 0.3), (6, 0.2)), {"first": "before", "spread": 0.5}),
        ("drop", ((3, 0.5), (7, 0.2)), {}),
        ("pdrop", ((2, 0.5), (4, 0.3)), {}),  # renumbers positions
        ("visionzip", ((0, 0.3, 0.1),), {}),  # before the first layer
    ],
)
def test_answers_and_lengths_are_those_of_a_dynamic_cache(
    make_llava: Any,
    prompts: Any,
    plan_of: Any,
    generate: Any,
    logits_of: Any,
    attn: str,
    method: str,
    stages: Any,
    options: Any,
) -> None:
    llava, plan = make_llava(attn=attn), plan_of(*stages, method=method, **options)
    for rows in ((1,), (0, 1, 2)):  # from short to long: a model keeps its longest cache in mind
        inputs = prompts.batch(*rows)
        grown = generate(llava, inputs, plan)
        static = generate(llava, inputs, plan, **STATIC)
        assert torch.equal(static.sequences, grown.sequences)
        torch.testing.assert_close(logits_of(static), logits_of(grown), rtol=0, atol=2e-5)
        assert lengths(static) == lengths(grown)  # what was generated, and nothing to spare


def test_bytes_are_what_the_average_of_tokens_says(
    llava: Any, prompts: Any, plan_of: Any, generate: Any
) -> None:
    retained = (3 * 36 + (18 + 4) + 2 * (11 + 4) + 2 * 4) / 8
    layers = generate(llava, prompts.batch(0), plan_of(*THREE), **STATIC).past_key_values.layers
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    one = 2 * 2 * 16 * 4  # keys and values of two heads of 16 floats
    assert held == one * 8 * (retained + 14 + 4)  # text, and new tokens but for the last


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        {"do_sample": True, "num_return_sequences": 2},
        {"max_new_tokens": 1, "min_new_tokens": 1},
    ],
)
def test_other_ways_to_generate(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, options: Any
) -> None:
    inputs, plan = prompts.batch(0, 1), plan_of(*THREE)
    answers = []
    for cache in ({}, STATIC):
        torch.manual_seed(0)
        answers.append(generate(llava, inputs, plan, **options, **cache).sequences)
    assert torch.equal(*answers)


def test_more_text_on_a_pruned_static_cache(llava: Any, prompts: Any, plan_of: Any) -> None:
    inputs = prompts.batch(0, 1)
    text = torch.tensor([[5, 6, 7], [8, 9, 10]])
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(text)], 1)
    static = StaticCache(llava.config, max_cache_len=60)
    with torch.no_grad(), prune(llava, plan_of(*THREE)):
        grown = llava(**inputs).past_key_values
        llava(**inputs, past_key_values=static)
        after = [
            llava(input_ids=text, attention_mask=mask, past_key_values=cache).logits
            for cache in (grown, static)
        ]
    torch.testing.assert_close(after[1], after[0], rtol=0, atol=2e-5)
    assert static.get_seq_length() == 53


def test_a_cache_of_ones_own_can_be_reset_and_used_again(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    cache = StaticCache(llava.config, max_cache_len=60)
    text = {"input_ids": torch.tensor([[3, 4, 5]]), "attention_mask": torch.ones(1, 3).long()}
    for plan in (plan_of(*THREE), plan_of((2, 0.2), method="drop"), None, plan_of(*THREE)):
        for inputs in (prompts.batch(2), prompts.batch(0), text):
            wanted = logits_of(generate(llava, inputs, plan))
            found = logits_of(generate(llava, inputs, plan, past_key_values=cache))
            torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
            cache.reset()


def test_what_static_caches_cannot_do_is_refused(
    llava: Any, make_llava: Any, prompts: Any, plan_of: Any
) -> None:
    inputs, plan, one = prompts.batch(0), plan_of(*THREE), {"max_new_tokens": 1, **STATIC}
    cache = StaticCache(llava.config, max_cache_len=120)
    with torch.no_grad(), prune(llava, plan):
        llava(input_ids=torch.tensor([[3, 4]]), past_key_values=cache)
        with pytest.raises(SwiftprofError, match="filled static cache"):
            llava(**{**inputs, "attention_mask": None}, past_key_values=cache)
        cache = StaticCache(llava.config, max_cache_len=60)
        cache.offloading = True
        with pytest.raises(SwiftprofError, match="offloaded"):
            llava(**inputs, past_key_values=cache)
        with pytest.raises(SwiftprofError, match="chunk"):
            llava.generate(**inputs, **one, prefill_chunk_size=16)
    sliding = make_llava(text="mistral", sliding_window=500)
    with prune(sliding, plan), pytest.raises(SwiftprofError, match="StaticSlidingWindowLayer"):
        sliding.generate(**inputs, **one)
    llava.config._attn_implementation = llava.config.text_config._attn_implementation = (
        "flash_attention_2"
    )
    with prune(llava, plan), pytest.raises(SwiftprofError, match="FlashAttention"):
        llava(**inputs, past_key_values=StaticCache(llava.config, max_cache_len=60))


# --- compiled


@pytest.fixture
def graphs() -> list[Any]:
    """What the compiler was given, one graph for every (re)compilation."""
    return []


@pytest.fixture
def compiled(graphs: list[Any]) -> dict[str, Any]:
    """Settings with which `generate()` compiles decoding, here into the graph as it is."""

    def backend(graph: Any, example: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    config = CompileConfig(backend=backend, fullgraph=True, mode=None)
    config._compile_all_devices = True
    return {**STATIC, "compile_config": config}


@pytest.mark.parametrize("layers", [3, 6])
def test_decoding_is_one_graph_however_many_layers_and_prompts(
    make_llava: Any,
    prompts: Any,
    plan_of: Any,
    generate: Any,
    logits_of: Any,
    graphs: list[Any],
    compiled: Any,
    layers: int,
) -> None:
    llava, plan = make_llava(layers=layers), plan_of((2, 0.5, 0.1), (3, 0.2), num_layers=layers)
    even = prompts.batch(2, 2)  # as long as the other, nothing padded
    with prune(llava, plan):
        for inputs in (prompts.batch(2, 0), prompts.batch(1, 2), even):
            wanted = generate(llava, inputs)
            found = generate(llava, inputs, **compiled)
            assert torch.equal(found.sequences, wanted.sequences)
            torch.testing.assert_close(logits_of(found), logits_of(wanted), rtol=0, atol=2e-5)
    assert len(graphs) == 1


def test_compiled_decoding_notices_where_a_block_begins_and_ends(
    make_llava: Any, prompts: Any, plan_of: Any, generate: Any, graphs: list[Any], compiled: Any
) -> None:
    llava, inputs = make_llava(layers=3), prompts.batch(0)
    text = {"input_ids": torch.tensor([[3, 4, 5]]), "attention_mask": torch.ones(1, 3).long()}
    plan = plan_of((2, 0.2), num_layers=3, method="pdrop")
    vanilla, pruned, words = (
        generate(llava, *each).sequences for each in ((inputs,), (inputs, plan), (text,))
    )
    assert torch.equal(generate(llava, inputs, **compiled).sequences, vanilla)
    with prune(llava, plan):
        assert torch.equal(generate(llava, inputs, **compiled).sequences, pruned)
        assert torch.equal(generate(llava, text, **compiled).sequences, words)
    assert torch.equal(generate(llava, inputs, **compiled).sequences, vanilla)
    assert len(graphs) == 4
