"""The quick form of a layer is the layer, and is taken only where it is."""

from __future__ import annotations

import pytest
import torch

from swiftprof.profiling import plain_layer
from swiftprof.profiling import steps as stepping
from swiftprof.profiling.plain_layer import plain_layers
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import rerun
from swiftprof.profiling.steps import Steps
from swiftprof.runtime.decoder import locate

IMAGE = 127


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_usual_families_are_plain(make_llava, family):
    assert None not in plain_layers(locate(make_llava(text=family)))


class Doubled(torch.nn.Linear):
    """A projection that is not what it looks like."""

    def forward(self, x):
        return 2 * super().forward(x)


def other_class(layer):
    layer.mlp.down_proj = Doubled(128, 64, bias=False)


def hooked(layer):
    layer.self_attn.q_proj.register_forward_hook(lambda module, args, out: 2 * out)


def patched(layer):
    forward = layer.self_attn.forward
    layer.self_attn.forward = lambda *args, **kwargs: forward(*args, **kwargs)


def other_activation(layer):
    layer.mlp.act_fn = torch.nn.GELU()


def other_norm(layer):
    norm = layer.input_layernorm
    norm.__class__ = type("OneMore", (type(norm),), {"forward": lambda self, x: x * self.weight})


@pytest.mark.parametrize("change", [other_class, hooked, patched, other_activation, other_norm])
def test_a_layer_that_does_something_else_is_called_as_it_is(llava, change):
    change(llava.get_decoder().layers[5])
    assert [each is None for each in plain_layers(locate(llava))] == [i == 5 for i in range(8)]


def test_eager_attention_is_left_alone(make_llava):
    assert plain_layers(locate(make_llava(attn="eager"))) == [None] * 8


def test_answers_do_not_depend_on_how_layers_are_run(llava, prompts, monkeypatch):
    recording = record(Steps(llava), prompts.batch(0, 1, 2), IMAGE, 5)
    selections = recording.select(0.2)
    wanted = rerun(recording, selections, 5, ())
    monkeypatch.setattr(stepping, "CPU_TOKENS", 1)  # row by row
    monkeypatch.setattr(stepping, "CPU_TOKENS_WIDTH", 1)
    assert rerun(recording, selections, 5, ()) == wanted
    monkeypatch.setattr(plain_layer, "SHORT", 0)  # the backend's attention
    assert rerun(recording, selections, 5, ()) == wanted
    for layer in (1, 4, 7):
        llava.get_decoder().layers[layer].self_attn.q_proj.register_forward_hook(lambda *_: None)
    again = record(Steps(llava), prompts.batch(0, 1, 2), IMAGE, 5)
    assert again.generated == recording.generated
    assert rerun(again, selections, 5, ()) == wanted
