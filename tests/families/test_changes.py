"""A family that transformers changes under us is refused with the reason, not pruned wrongly."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swiftprof.errors import SwiftprofError
from swiftprof.profiling.steps import check_steps
from swiftprof.runtime.decoder import locate
from swiftprof.runtime.prune import prune


def changed(module: nn.Module, **members: Any) -> None:
    """Give a module a class of its own with other members."""
    kind = type(module)
    module.__class__ = type(kind.__name__, (kind,), {**members, "__module__": kind.__module__})


def refused(model: Any, plan: Any, match: str) -> None:
    with pytest.raises(SwiftprofError, match=match) as error:
        prune(model, plan).attach()
    assert "\n" not in str(error.value)
    assert not any(m._forward_pre_hooks for m in model.modules())


@pytest.fixture
def model(build: Any) -> Any:
    return build("llava_next").model


@pytest.fixture
def plan(plan_of: Any) -> Any:
    return plan_of((4, 0.5))


def test_every_family_is_as_its_adapter_says(case: Any) -> None:
    decoder = locate(case.model)
    assert len(decoder.layers) == 8
    assert case.vlm.image_token_id in decoder.visual_ids
    assert decoder.first_cut == (3 if case.name == "qwen3_vl" else 0)
    check_steps(case.model)


def test_a_decoder_that_moved(model: Any, plan: Any) -> None:
    inner = model.model
    inner.decoder = inner.language_model
    del inner.language_model
    changed(model, get_decoder=lambda self: self.model.decoder)
    refused(model, plan, r"the decoder is at 'model.decoder', not at 'model.language_model'")


def test_a_rotary_embedding_that_is_gone(model: Any, plan: Any) -> None:
    del model.model.language_model.rotary_emb
    refused(model, plan, "has no 'rotary_emb'")


def test_layers_without_a_query_projection(model: Any, plan: Any) -> None:
    attention = model.get_decoder().layers[5].self_attn
    attention.qkv_proj = attention.q_proj
    del attention.q_proj
    refused(model, plan, r"its layers \(LlamaDecoderLayer\) have no self_attn.q_proj")


def test_layers_that_take_other_arguments(model: Any, plan: Any) -> None:
    def forward(self: Any, hidden_states: Tensor, attention_mask: Any = None, cache: Any = None):
        raise AssertionError

    for layer in model.get_decoder().layers:
        changed(layer, forward=forward)
    refused(model, plan, "take no position_embeddings; transformers .* doctor")


def test_a_text_model_that_is_given_something_new(model: Any, plan: Any) -> None:
    def forward(self: Any, input_ids: Any = None, sink_tokens: Any = None, **kwargs: Any):
        raise AssertionError

    changed(model.get_decoder(), forward=forward)
    refused(model, plan, "is given sink_tokens")


def test_deep_features_by_another_name(build: Any, plan: Any) -> None:
    model = build("qwen3_vl").model

    def forward(self: Any, inputs_embeds: Any = None, visual_pos_masks: Any = None, **kwargs: Any):
        raise AssertionError

    changed(model.get_decoder(), forward=forward)
    refused(model, plan, "is not given deepstack_visual_embeds")


def test_queries_that_are_changed_inside_attention(model: Any, plan: Any) -> None:
    """Scored from projections and RoPE alone, such a layer would be scored wrongly."""
    attention = model.get_decoder().layers[3].self_attn
    own = type(attention).forward

    def forward(self: Any, hidden_states: Tensor, **kwargs: Any) -> Any:
        return own(self, hidden_states * 3, **kwargs)

    changed(attention, forward=forward)
    refused(model, plan, "its attention differs")
    with pytest.raises(SwiftprofError, match="its attention differs"):
        check_steps(model)


@pytest.mark.parametrize("part", ["embeddings", "logits"])
def test_a_model_that_scales_is_not_profiled(model: Any, part: str) -> None:
    root = model.model.language_model if part == "embeddings" else model
    own = type(root).forward

    def forward(self: Any, **kwargs: Any) -> Any:
        if part == "embeddings":
            kwargs["inputs_embeds"] = kwargs["inputs_embeds"] * 8
            return own(self, **kwargs)
        out = own(self, **kwargs)
        out.logits = torch.tanh(out.logits / 2) * 2
        return out

    forward.__signature__ = inspect.signature(own)  # type: ignore[attr-defined]
    changed(root, forward=forward)
    with pytest.raises(SwiftprofError, match="do not give its own logits"):
        check_steps(model)


def test_layers_of_several_kinds_all_have_to_fit(model: Any, plan: Any) -> None:
    model.get_decoder().layers[6].self_attn = nn.Linear(4, 4)
    refused(model, plan, "have no self_attn.q_proj")
