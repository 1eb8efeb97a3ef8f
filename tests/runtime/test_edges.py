"""Calls at the edges give what was asked; a plain model with dropped tokens masked out says it."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace
from tests.helpers.masked import masked_logits

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))
PLANS = {
    "swiftvlm": (THREE, {}),
    "drop": (((2, 0.5), (5, 0.25)), {}),
    "merge": (((3, 0.4, 0.2), (6, 0.2, 0.1)), {}),
}
IMAGE = 127


def a_plan(plan_of: Any, name: str) -> Any:
    stages, options = PLANS[name]
    return plan_of(*stages, method=name, **options)


@torch.no_grad()
def forced(model: Any, plan: Any, prompts: Any, row: int, answer: torch.Tensor) -> torch.Tensor:
    """What the plain model says about an answer: logits before each of its tokens and behind."""
    ids = torch.cat([prompts.ids[row], answer])[None]
    inputs = {"input_ids": ids, "pixel_values": prompts.pixels[row : row + 1]}
    end = len(prompts.ids[row]) - 1
    return masked_logits(model, inputs, [plan], [end], {IMAGE})[end:]


def answered(prompts: Any, row: int, answer: torch.Tensor) -> dict[str, torch.Tensor]:
    """A prompt with an answer behind it."""
    ids = torch.cat([prompts.ids[row], answer])[None]
    return {"input_ids": ids, "pixel_values": prompts.pixels[row : row + 1]}


@pytest.mark.parametrize("name", PLANS)
def test_generation_equals_the_masked_model(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any, name: str
) -> None:
    plan = a_plan(plan_of, name)
    out = generate(llava, prompts.batch(0, 1), plan)
    for row in (0, 1):
        expected = forced(llava, plan, prompts, row, out.sequences[row, -5:-1])
        assert (logits_of(out)[row] - expected).abs().max() < 1e-4


# --- the prompt ends before the call does


@pytest.mark.parametrize("name", PLANS)
def test_labels_say_where_the_prompt_ends(
    llava: Any, prompts: Any, plan_of: Any, name: str
) -> None:
    plan, answers = a_plan(plan_of, name), [torch.tensor([5, 9, 17]), torch.tensor([33, 8])]
    rows = [torch.cat([prompts.ids[r], answers[r]]) for r in (0, 1)]
    width = max(map(len, rows))
    ids, labels = torch.zeros(2, width).long(), torch.full((2, width), -100)
    mask = torch.zeros(2, width).long()
    for r, row in enumerate(rows):
        place = slice(width - len(row), None) if r else slice(0, len(row))
        ids[r, place], mask[r, place] = row, 1
        labels[r, place.start + len(prompts.ids[r]) : place.start + len(row)] = answers[r]
    inputs = {"input_ids": ids, "attention_mask": mask, "pixel_values": prompts.pixels[:2]}
    with prune(llava, plan), torch.no_grad():
        out = llava(**inputs, labels=labels)
    losses = []
    for r in (0, 1):
        expected = forced(llava, plan, prompts, r, answers[r])
        start = (width - len(rows[r]) if r else 0) + len(prompts.ids[r]) - 1
        got = out.logits[r, start : start + len(answers[r]) + 1]
        assert (got - expected).abs().max() < 1e-4
        losses.append(torch.nn.functional.cross_entropy(expected[:-1], answers[r], reduction="sum"))
    assert out.loss == pytest.approx(float(sum(losses)) / 5, abs=1e-4)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("how", ["logits_to_keep", "prompt_lengths"])
def test_an_answer_is_scored_as_it_would_be_generated(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any, name: str, how: str
) -> None:
    """As trainers do it: prompts padded on the left, answers on the right."""
    plan = a_plan(plan_of, name)
    out = generate(llava, prompts.batch(0, 1), plan)
    answers = out.sequences[:, -5:].clone()
    inputs = prompts.batch(0, 1)
    ids = torch.cat([inputs["input_ids"], answers], 1)
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(answers)], 1)
    ids[1, -2:], mask[1, -2:] = 0, 0
    given = {"input_ids": ids, "attention_mask": mask, "pixel_values": inputs["pixel_values"]}
    lengths = [len(prompts.ids[r]) for r in (0, 1)] if how == "prompt_lengths" else None
    keep = {"logits_to_keep": 6} if how == "logits_to_keep" else {}
    for cached in (True, False):
        with prune(llava, plan, prompt_lengths=lengths), torch.no_grad():
            got = llava(**given, **keep, use_cache=cached).logits[:, -6:]
        assert (got[0, :5] - logits_of(out)[0]).abs().max() < 1e-4
        assert (got[1, :4] - logits_of(out)[1, :4]).abs().max() < 1e-4


def test_prompt_lengths_can_be_set_between_calls_and_have_to_fit(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    answer = torch.tensor([5, 9])
    with prune(llava, a_plan(plan_of, "drop")) as pruning, torch.no_grad():
        seen = []
        for lengths in (None, 50, [50], torch.tensor([50])):
            pruning.prompt_lengths = lengths
            seen.append(llava(**answered(prompts, 0, answer)).logits[0, -1])
        assert not torch.allclose(seen[0], seen[1], atol=1e-3)
        assert torch.equal(seen[1], seen[2])
        assert torch.equal(seen[1], seen[3])
        pruning.prompt_lengths = [50, 44, 50]
        with pytest.raises(SwiftprofError, match="3 numbers and the call 2 rows"):
            llava(**prompts.batch(0, 1))
        pruning.prompt_lengths = [3]
        with pytest.raises(SwiftprofError, match="behind the end of the prompt"):
            llava(**prompts.batch(0))


def test_labels_on_the_prompt_itself_are_refused(llava: Any, prompts: Any, plan_of: Any) -> None:
    """A label right behind a dropped image token would be held against logits of nothing."""
    inputs = prompts.batch(0)
    with prune(llava, plan_of(*THREE)), pytest.raises(SwiftprofError, match="before the first"):
        llava(**inputs, labels=inputs["input_ids"])


@pytest.mark.parametrize("name", [*PLANS, "visionzip"])
def test_generating_without_a_cache_equals_generating_with_one(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any, name: str
) -> None:
    plan = plan_of((0, 0.3, 0.1), method=name) if name == "visionzip" else a_plan(plan_of, name)
    for rows, options in (((0, 1), {}), ((0,), {"num_beams": 2, "num_return_sequences": 2})):
        cached = generate(llava, prompts.batch(*rows), plan, **options)
        plain = generate(llava, prompts.batch(*rows), plan, use_cache=False, **options)
        assert torch.equal(cached.sequences, plain.sequences)
        if not options:
            assert (logits_of(cached) - logits_of(plain)).abs().max() < 1e-4


# --- assisted decoding: prompt and candidates in one call


@pytest.mark.parametrize("name", [*PLANS, "visionzip", "sparsevlm", "pdrop"])
def test_prompt_lookup_equals_greedy(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, name: str
) -> None:
    """The prompt repeats itself, so candidates are there at once; most are rejected."""
    stages = {"visionzip": ((0, 0.3, 0.1),), "sparsevlm": ((3, 0.5, 0.03), (6, 0.3, 0.03))}
    plan = (
        a_plan(plan_of, name)
        if name in PLANS
        else plan_of(*stages.get(name, ((3, 0.5), (6, 0.2))), method=name)
    )
    inputs = prompts.batch(0)
    greedy = generate(llava, inputs, plan, max_new_tokens=12, min_new_tokens=12)
    repeated = {**inputs, "input_ids": inputs["input_ids"].clone()}
    first = int(greedy.sequences[0, 50])
    repeated["input_ids"][0, :4] = torch.cat(
        [repeated["input_ids"][0, -2:], torch.tensor([first, 3])]
    )
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "eos_token_id": 125}
    greedy = generate(llava, repeated, plan, **options).sequences
    lookup = generate(llava, repeated, plan, prompt_lookup_num_tokens=3, **options).sequences
    assert torch.equal(greedy, lookup)


@pytest.mark.parametrize("name", PLANS)
def test_an_assistant_does_not_change_the_answer(
    llava: Any, make_llava: Any, prompts: Any, plan_of: Any, generate: Any, name: str
) -> None:
    import transformers as hf

    plan = a_plan(plan_of, name)
    config = copy.deepcopy(llava.config.text_config)
    config.num_hidden_layers = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        assistant = hf.LlamaForCausalLM(config).eval()
    options = {"max_new_tokens": 9, "min_new_tokens": 9, "eos_token_id": 125}
    greedy = generate(llava, prompts.batch(0), plan, **options).sequences
    assisted = generate(llava, prompts.batch(0), plan, assistant_model=assistant, **options)
    assert torch.equal(greedy, assisted.sequences)


# --- what a trace says


def test_a_trace_does_not_list_merged_tokens_as_kept(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    """Merged tokens of the first stage that survive the second are no original tokens."""
    trace, plan = Trace(), plan_of((2, 0.1, 0.5), (5, 0.5, 0.1), method="merge")
    with prune(llava, plan, on_stage=trace), torch.no_grad():
        llava(**prompts.batch(0, 1))
    (prefill,) = trace.prefills
    for row in (0, 1):
        originals, seeds = set(prefill.kept(0, row)), set(prefill.merged(0, row))
        assert len(originals) == 4
        assert set(prefill.kept(1, row)) <= originals
        assert set(prefill.merged(1, row)) & seeds
        after = len(prefill.kept(1, row)) + len(prefill.merged(1, row))
        assert after == 18 + 4


# --- the model


def test_every_judging_layer_is_checked(llava: Any, prompts: Any, plan_of: Any) -> None:
    attention = llava.get_decoder().layers[6].self_attn
    kind = type(attention)

    def forward(self: Any, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        return kind.forward(self, hidden_states * 3, **kwargs)

    attention.__class__ = type(
        kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__}
    )
    with prune(llava, plan_of((3, 0.5), (5, 0.3), method="drop")):
        pass
    with pytest.raises(SwiftprofError, match="its attention differs"):
        prune(llava, plan_of((3, 0.5), (7, 0.3), method="drop")).attach()


def unlike_any_other(model: Any, layer_mask: Any) -> Any:
    """The model as one of a family that nobody knows, whose text model makes masks of its own."""
    model.config.model_type = "unheard-of"
    text = model.get_decoder()
    kind = type(text)

    def forward(self: Any, inputs_embeds: torch.Tensor | None = None, **kwargs: Any) -> Any:
        given = {**kwargs, "attention_mask": layer_mask(inputs_embeds.shape[1])}
        return kind.forward(self, inputs_embeds=inputs_embeds, **given)

    forward.__signature__ = inspect.signature(kind.forward)  # type: ignore[attr-defined]
    members = {"forward": forward, "__module__": kind.__module__}
    text.__class__ = type(kind.__name__, (kind,), members)
    return model


@pytest.mark.parametrize("additive", [False, True])
def test_an_unknown_family_whose_images_see_both_ways_is_refused(
    make_llava: Any, prompts: Any, plan_of: Any, additive: bool
) -> None:
    def causal(length: int) -> torch.Tensor:
        seen = torch.ones(1, 1, length, length).tril().bool()
        return torch.zeros(seen.shape).masked_fill(~seen, -3e38) if additive else seen

    def both_ways(length: int) -> torch.Tensor:
        mask = causal(length)
        mask[..., 5:41, 5:41] = 0 if additive else True
        return mask

    plan, inputs = plan_of(*THREE), prompts.batch(0)
    model = unlike_any_other(make_llava(), causal)
    with prune(model, plan), torch.no_grad():
        got = model(**inputs).logits
    plain = make_llava()
    with prune(plain, plan), torch.no_grad():
        assert (plain(**inputs).logits - got).abs().max() < 1e-5
    model = unlike_any_other(make_llava(), both_ways)
    with prune(model, plan), pytest.raises(SwiftprofError, match="tokens behind them"):
        model(**inputs)


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("Gemma3TextConfig", {"head_dim": 16}, "gemma3.*both directions"),
        ("StableLmConfig", {}, "cannot be computed from its projections"),
        ("Gemma2Config", {"head_dim": 16}, "caps its logits"),
    ],
)
def test_text_models_that_cannot_be_judged_are_refused_at_once(
    llava: Any, plan_of: Any, kind: str, options: dict[str, Any], match: str
) -> None:
    import transformers as hf

    text = llava.config.text_config
    facts = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    sizes = {name: getattr(text, name) for name in facts}
    config = hf.LlavaConfig(
        vision_config=llava.config.vision_config,
        text_config=getattr(hf, kind)(
            **sizes, vocab_size=128, num_hidden_layers=8, pad_token_id=0, **options
        ),
        image_token_id=IMAGE,
        vision_feature_layer=-1,
    )
    model = hf.LlavaForConditionalGeneration(config).eval()
    with pytest.raises(SwiftprofError, match=match):
        prune(model, plan_of(*THREE)).attach()


def test_a_loss_over_routers_is_refused(llava: Any, prompts: Any, plan_of: Any) -> None:
    inputs = prompts.batch(0)
    with prune(llava, plan_of(*THREE)), pytest.raises(SwiftprofError, match="router loss"):
        llava(**inputs, labels=inputs["input_ids"], output_router_logits=True)


# --- compiled code


def test_a_compiled_forward_is_refused(make_llava: Any, plan_of: Any) -> None:
    for compile_it in (
        lambda m: setattr(m, "forward", torch.compile(m.forward, backend="eager")),
        lambda m: setattr(m.model, "forward", torch.compile(m.model.forward, backend="eager")),
        lambda m: m.model.language_model.compile(backend="eager"),
        lambda m: setattr(
            m.model, "language_model", torch.compile(m.model.language_model, backend="eager")
        ),
    ):
        model = make_llava()
        compile_it(model)
        with pytest.raises(SwiftprofError, match="compile"):
            prune(model, plan_of(*THREE)).attach()


def test_what_was_compiled_is_traced_again_when_a_block_begins_and_when_it_ends(
    llava: Any, plan_of: Any
) -> None:
    """A function around a model does not show on it, and keeps the hooks it was traced with."""
    traced = []

    def backend(graph: Any, example: Any) -> Any:
        traced.append(graph)
        return graph.forward

    step = torch.compile(torch.nn.Linear(2, 2), backend=backend)
    numbers = torch.ones(1, 2)
    step(numbers)
    step(numbers)
    assert len(traced) == 1
    with prune(llava, plan_of(*THREE)):
        step(numbers)
        assert len(traced) == 2
    step(numbers)
    assert len(traced) == 3


# --- calls without images


def test_a_text_prompt_with_a_map_as_its_mask(llava: Any, plan_of: Any) -> None:
    ids = torch.tensor([[3, 4, 5, 6]])
    mask = torch.ones(4, 4).tril().bool()[None, None]
    with torch.no_grad():
        vanilla = llava(input_ids=ids, attention_mask=mask).logits
        with prune(llava, plan_of(*THREE)):
            assert torch.equal(llava(input_ids=ids, attention_mask=mask).logits, vanilla)


def test_a_copy_inside_the_block_says_what_to_do(llava: Any, plan_of: Any) -> None:
    for method, stages in (("drop", ((3, 0.5),)), ("visionzip", ((0, 0.3, 0.1),))):
        with (
            prune(llava, plan_of(*stages, method=method)),
            pytest.raises(SwiftprofError, match="copy it before"),
        ):
            copy.deepcopy(llava)
    copy.deepcopy(llava)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_block_inside_autocast(llava: Any, prompts: Any, plan_of: Any, dtype: Any) -> None:
    with torch.autocast("cpu", dtype=dtype), prune(llava, plan_of(*THREE)), torch.no_grad():
        out = llava(**prompts.batch(0, 1))
    assert torch.isfinite(out.logits.float()).all()
    assert out.past_key_values.get_seq_length(7) < 50


def test_a_base_model_is_pruned_as_the_model_with_its_head(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    plan = plan_of(*THREE)
    with prune(llava, plan), torch.no_grad():
        expected = llava(**prompts.batch(0, 1)).logits
    with prune(llava.model, plan), torch.no_grad():
        hidden = llava.model(**prompts.batch(0, 1)).last_hidden_state
    assert torch.equal(llava.lm_head(hidden), expected)


# --- other ways to give a prompt


def test_embeddings_instead_of_ids(llava: Any, prompts: Any, plan_of: Any) -> None:
    plan, inputs = plan_of(*THREE), prompts.batch(0, 1)
    embeds = llava.get_input_embeddings()(inputs["input_ids"])
    given = {k: v for k, v in inputs.items() if k != "input_ids"}
    with prune(llava, plan), torch.no_grad():
        expected = llava(**inputs).logits
        assert torch.equal(llava(**given, inputs_embeds=embeds).logits, expected)
        text = torch.tensor([[5, 6, 7]])
        plain = llava(inputs_embeds=llava.get_input_embeddings()(text)).logits
    assert torch.equal(plain, llava(input_ids=text).logits)


def test_a_reset_cache_serves_a_new_prompt(llava: Any, prompts: Any, plan_of: Any) -> None:
    for method, stages in (("swiftvlm", THREE), ("visionzip", ((0, 0.3, 0.1),))):
        text = torch.tensor([[5, 6, 7]])
        with torch.no_grad():
            vanilla = llava(input_ids=text).logits
        with prune(llava, plan_of(*stages, method=method)), torch.no_grad():
            expected = llava(**prompts.batch(1)).logits
            cache = llava(**prompts.batch(0)).past_key_values
            cache.reset()
            assert torch.equal(llava(**prompts.batch(1), past_key_values=cache).logits, expected)
            cache.reset()
            assert torch.equal(llava(input_ids=text, past_key_values=cache).logits, vanilla)
