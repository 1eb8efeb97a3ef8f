"""The model stays clean, and what is unsupported is refused with a reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.prune import prune

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))


def _snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that hangs on the modules of a model, hooks and instance attributes included."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            is_hooks = "hooks" in key and isinstance(value, dict)
            state[f"{name}.{key}"] = dict(value) if is_hooks else repr(type(value))
        state[f"{name}.__class__"] = type(module)
        state[f"{name}.forward"] = type(module).forward
    return state


def test_the_model_is_untouched_after_the_block(llava: Any, prompts: Any, plan_of: Any) -> None:
    llava.generate(**prompts.batch(0), max_new_tokens=2)  # transformers notes things at first use
    before = _snapshot(llava)
    with prune(llava, plan_of(*THREE)):
        assert _snapshot(llava) != before
        llava.generate(**prompts.batch(0), max_new_tokens=2)
    assert _snapshot(llava) == before


def test_the_model_is_untouched_after_an_exception(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    vanilla = logits_of(generate(llava, prompts.batch(0)))
    before = _snapshot(llava)
    with pytest.raises(ZeroDivisionError), prune(llava, plan_of(*THREE)):
        raise ZeroDivisionError
    assert _snapshot(llava) == before

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    pruning = prune(llava, plan_of(*THREE))
    expected = logits_of(generate(llava, prompts.batch(0), plan_of(*THREE)))
    with pruning:
        handle = llava.get_decoder().layers[4].register_forward_hook(fail)
        with pytest.raises(ZeroDivisionError), torch.no_grad():
            llava(**prompts.batch(0))
        handle.remove()
        assert pruning._hooks._local.call is None  # nothing of the failed prefill is kept alive
        with torch.no_grad():  # and the block still works
            again = llava(**prompts.batch(0)).logits[:, -1]
    assert (again - expected[:, 0]).abs().max() < 1e-5
    assert _snapshot(llava) == before
    assert torch.equal(logits_of(generate(llava, prompts.batch(0))), vanilla)


def test_attach_and_detach_can_be_called_by_hand_and_repeated(llava: Any, plan_of: Any) -> None:
    before = _snapshot(llava)
    pruning = prune(llava, plan_of(*THREE))
    assert _snapshot(llava) == before  # making it changes nothing
    for _ in range(2):
        assert pruning.attach() is pruning
        assert pruning.attached
        pruning.detach()
        pruning.detach()
        assert not pruning.attached
        assert _snapshot(llava) == before


def test_blocks_do_not_nest_on_one_model(llava: Any, make_llava: Any, plan_of: Any) -> None:
    plan = plan_of(*THREE)
    pruning = prune(llava, plan)
    with pruning:
        with pytest.raises(SwiftprofError, match="being pruned already"):
            prune(llava, plan).attach()
        with pytest.raises(SwiftprofError, match="being pruned already"):
            pruning.attach()
        assert pruning.attached
        with prune(make_llava(seed=1), plan):  # another model is another matter
            pass
    with prune(llava, plan):
        pass


def test_a_failing_attach_leaves_no_hook(
    llava: Any, plan_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _snapshot(llava)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no hooks here")

    layer = llava.get_decoder().layers[5]
    monkeypatch.setattr(layer, "register_forward_pre_hook", fail)
    with pytest.raises(RuntimeError, match="no hooks here"):
        prune(llava, plan_of(*THREE)).attach()
    monkeypatch.undo()
    assert _snapshot(llava) == before


def test_importing_the_runtime_patches_nothing() -> None:
    import subprocess
    import sys

    code = """
import torch, transformers
from transformers import AttentionInterface, cache_utils
from transformers.models.llama import modeling_llama as llama

def seen():
    return (
        llama.LlamaModel.forward, llama.LlamaDecoderLayer.forward, llama.LlamaAttention.forward,
        torch.nn.Module.__call__, cache_utils.DynamicCache.update, list(AttentionInterface()),
    )

before = seen()
import swiftprof.runtime.prune
assert seen() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 32}, "32 layers, this one has 8"),
        ({"method": "swiftvml"}, "method swiftvml: unknown.*swiftvlm"),
        ({"speed": 3}, "no option 'speed'"),
        ({"seeds": "worst"}, "options.seeds"),
        ({"method": "drop"}, r"stages\[0\].merge"),
        ({"method": "random", "seed": "x"}, "options.seed"),
    ],
)
def test_an_impossible_plan_is_refused(
    llava: Any, plan_of: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SwiftprofError, match=message):
        prune(llava, plan_of(*THREE, **changes))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (((0, 0.5),), r"stages\[0\].layer: 0"),
        (((9, 0.5),), r"stages\[0\].layer: 9"),
        (((3, 0.5), (3, 0.2)), r"stages\[1\].layer: 3"),
        (((3, 0.0),), r"stages\[0\].keep is 0"),
        (((3, 0.5, -0.1), (5, 0.1)), r"stages\[0\].merge is -0.1"),
    ],
)
def test_impossible_stages_are_refused(
    llava: Any, plan_of: Any, stages: tuple, message: str
) -> None:
    with pytest.raises(SwiftprofError, match=message):
        prune(llava, plan_of(*stages))


def test_a_plan_without_stages_and_one_after_the_last_layer_change_nothing(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    vanilla = logits_of(generate(llava, prompts.batch(0, 1)))
    for plan in (plan_of(method="vanilla"), plan_of((8, 0.2))):
        assert torch.equal(logits_of(generate(llava, prompts.batch(0, 1), plan)), vanilla)


def test_unsupported_models_are_refused(llava: Any, make_llava: Any, plan_of: Any) -> None:
    import transformers as hf

    text = hf.LlamaForCausalLM(make_llava().config.text_config).eval()
    with pytest.raises(SwiftprofError, match="image_token_id"):
        prune(text, plan_of(*THREE))
    with pytest.raises(SwiftprofError, match="get_decoder"):
        prune(nn.Linear(2, 2), plan_of(*THREE))
    gemma = make_llava()
    gemma.config.model_type = "gemma3"
    with pytest.raises(SwiftprofError, match=r"gemma3.*both directions"):
        prune(gemma, plan_of(*THREE))
    split = make_llava()
    split._tp_size = 2
    with pytest.raises(SwiftprofError, match="tensor parallelism"):
        prune(split, plan_of(*THREE))
    compiled = make_llava()
    compiled.compile()
    with pytest.raises(SwiftprofError, match="compile"):
        prune(compiled, plan_of(*THREE))
    llava.set_attn_implementation("flex_attention")
    with pytest.raises(SwiftprofError, match="flex_attention"), prune(llava, plan_of(*THREE)):
        pass


def test_training_mode_is_refused(llava: Any, prompts: Any, plan_of: Any) -> None:
    llava.train()
    with pytest.raises(SwiftprofError, match="eval"):
        prune(llava, plan_of(*THREE)).attach()
    llava.eval()
    with prune(llava, plan_of(*THREE)):
        llava.train()
        with pytest.raises(SwiftprofError, match="eval"):
            llava(**prompts.batch(0))


def test_calls_that_would_be_pruned_wrongly_are_refused(
    llava: Any, make_llava: Any, prompts: Any, plan_of: Any
) -> None:
    inputs, plan = prompts.batch(0), plan_of(*THREE)
    with prune(llava, plan), torch.no_grad():
        embedded = llava.get_input_embeddings()(inputs["input_ids"])
        with pytest.raises(SwiftprofError, match="no image"):
            llava(inputs_embeds=embedded)
        with pytest.raises(SwiftprofError, match="no image"):
            llava(input_ids=inputs["input_ids"])
        cache = llava(**inputs).past_key_values
        with pytest.raises(SwiftprofError, match="50 columns and the conversation 100 tokens"):
            llava(**inputs, past_key_values=cache)
        with pytest.raises(SwiftprofError, match="dimensions"):
            llava(**{**inputs, "attention_mask": torch.zeros(1, 1, 50, 50)})
        padded = llava(**prompts.batch(0, 1)).past_key_values
        padded.batch_select_indices(torch.tensor([0]))
        step = {"input_ids": torch.tensor([[5]]), "attention_mask": torch.ones(1, 51).long()}
        with pytest.raises(SwiftprofError, match="filled with 2 rows"):
            llava(**step, past_key_values=padded)
        for layer in cache.layers:
            layer.crop(-layer.get_seq_length() + 10)
        with pytest.raises(SwiftprofError, match="cropped into"):
            llava(input_ids=torch.tensor([[5]]), past_key_values=cache)
        llava.generation_config.prefill_chunk_size = 16
        with pytest.raises(SwiftprofError, match="chunk"):
            llava(**inputs)


def test_chunks_with_images_are_refused_when_asked_for_per_call(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    for size in (16, 45):  # the image in two chunks, and a first chunk that holds all of it
        with prune(llava, plan_of(*THREE)), pytest.raises((SwiftprofError, ValueError)):
            llava.generate(**prompts.batch(0), max_new_tokens=2, prefill_chunk_size=size)


def test_sliding_windows_are_refused_when_shorter_than_the_sequence(
    make_llava: Any, prompts: Any, plan_of: Any
) -> None:
    narrow = make_llava(text="mistral", sliding_window=40)
    with prune(narrow, plan_of(*THREE)), pytest.raises(SwiftprofError, match="sliding attention"):
        narrow.generate(**prompts.batch(0), max_new_tokens=2)
    wide = make_llava(text="mistral", sliding_window=52)  # the prompt has 50 tokens
    with prune(wide, plan_of(*THREE)):
        wide.generate(**prompts.batch(0), max_new_tokens=2, do_sample=False)
        with pytest.raises(SwiftprofError, match="52 tokens is shorter"):
            wide.generate(**prompts.batch(0), max_new_tokens=9, do_sample=False)


def test_a_wrapped_model_is_pruned_too(llava: Any, prompts: Any, plan_of: Any) -> None:
    """Wrappers (PEFT, for one) pass get_decoder and config on to the model inside."""

    class Wrapper(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.inner, name)

        def forward(self, **inputs: Any) -> Any:
            return self.inner(**inputs)

    wrapped = Wrapper(llava).eval()
    with prune(wrapped, plan_of(*THREE)), torch.no_grad():
        cache = wrapped(**prompts.batch(0)).past_key_values
    assert cache.get_seq_length(7) == 50 - 36 + 4


def test_plans_may_be_any_object(llava: Any) -> None:
    stage = SimpleNamespace(layer=3, keep=0.5, merge=0.0)
    model = SimpleNamespace(num_layers=8)
    plan = SimpleNamespace(method="swiftvlm", stages=(stage,), options=None, model=model)
    with prune(llava, plan) as pruning:
        assert pruning.attached
