"""The training's parts: the shared-prefix forward, growing, checkpoints that resume exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swiftprof.tiny import vocabulary
from swiftprof.tiny.architecture import build_model, image_features
from swiftprof.tiny.scenes.labels import PATCHES
from swiftprof.tiny.train import batches, checkpoint, phases
from swiftprof.tiny.train.grow import grow
from swiftprof.tiny.train.shared_prefix import shared_prefix_logits


@pytest.fixture(scope="module")
def batch():
    rng, scenes = batches.scenes("test", 0, 2)
    return batches.scene_pixels(scenes), batches.ask_all(rng, scenes, phases.FULL)


@torch.no_grad()
def hugging_face_logits(model, pixels, ids, row):
    image = vocabulary.index()[vocabulary.IMAGE]
    prefix = torch.tensor([*batches.prefix_ids(), *[image] * PATCHES])
    full = torch.cat([prefix, ids[row]])[None]
    which = row // batches.QUESTIONS_PER_SCENE
    return model(input_ids=full, pixel_values=pixels[which : which + 1]).logits[0, len(prefix) :]


def test_shared_prefix_forward_is_the_hugging_face_forward(batch):
    pixels, asked = batch
    model = build_model(3, seed=1).eval()
    with torch.no_grad():
        logits = shared_prefix_logits(model, image_features(model, pixels), asked.ids)
    for row in (0, 5, 8, 15):
        wanted = hugging_face_logits(model, pixels, asked.ids, row)
        torch.testing.assert_close(logits[row], wanted, atol=1e-4, rtol=1e-4)


def test_growing_keeps_the_function(batch):
    pixels, asked = batch
    small, deep = build_model(3, seed=1).eval(), build_model(7, seed=2).eval()
    grow(deep, small.state_dict(), "1- 1 2 - 1:02+3:13- 3 1-")
    with torch.no_grad():
        visual = image_features(small, pixels)
        before = shared_prefix_logits(small, visual, asked.ids)
        after = shared_prefix_logits(deep, visual, asked.ids)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_mixed_layers_ask_what_their_sources_ask():
    small, deep = build_model(3, seed=1), build_model(4, seed=2)
    for layer in small.model.language_model.layers:
        torch.nn.init.uniform_(layer.input_layernorm.weight, 0.5, 2.0)
    grow(deep, small.state_dict(), "1 2 1:02+3:13- 3")
    sources, mixed = small.model.language_model.layers, deep.model.language_model.layers[2]
    hidden = torch.randn(5, 128, generator=torch.Generator().manual_seed(0))

    def heads(layer, projection):
        asked = getattr(layer.self_attn, projection)(layer.input_layernorm(hidden))
        return asked.unflatten(-1, (4, -1))

    for projection in ("q_proj", "k_proj", "v_proj"):
        new = heads(mixed, projection)
        for place, (source, head) in enumerate(((0, 0), (0, 2), (2, 1), (2, 3))):
            wanted = heads(sources[source], projection)[:, head]
            torch.testing.assert_close(new[:, place], wanted, atol=1e-5, rtol=1e-5)


def test_batches_are_functions_of_their_step():
    def ids(step):
        rng, scenes = batches.scenes("s", step, 2)
        return batches.ask_all(rng, scenes, phases.EASY).ids

    assert torch.equal(ids(7), ids(7))
    assert ids(7).shape != ids(8).shape or not torch.equal(ids(7), ids(8))


def test_interrupted_training_ends_where_uninterrupted_training_ends(tmp_path: Path, monkeypatch):
    short = phases.Schedule(4, 2, 1e-3, 0.5, phases.EASY, "1 2")
    monkeypatch.setitem(phases.SCHEDULES, "symbols-1", short)
    monkeypatch.setattr(phases, "evaluate", lambda *_: {})
    monkeypatch.setattr(phases, "SAVE_EVERY", 2)
    phases.train_symbols(tmp_path / "whole", 0, 1)

    class Stopped(Exception):
        pass

    real = checkpoint.save

    def stop_after_save(path, step, *rest):
        real(path, step, *rest)
        raise Stopped

    monkeypatch.setattr(checkpoint, "save", stop_after_save)
    with pytest.raises(Stopped):
        phases.train_symbols(tmp_path / "parts", 0, 1)
    monkeypatch.setattr(checkpoint, "save", real)
    phases.train_symbols(tmp_path / "parts", 0, 1)

    whole = checkpoint.weights(tmp_path / "whole" / "symbols-1.safetensors", "model")
    parts = checkpoint.weights(tmp_path / "parts" / "symbols-1.safetensors", "model")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
