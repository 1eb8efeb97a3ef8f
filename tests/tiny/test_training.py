"""The training's parts: the shared-prefix forward, growing, checkpoints that resume exactly."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.labels import PATCHES
from training import batches, checkpoint, phases
from training.architecture import build_model, image_features
from training.grow import grow
from training.guidance import Guide, guidance
from training.hiding import blind_layers, late_tokens, thinned
from training.shared_prefix import shared_prefix_forward, shared_prefix_logits


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


def test_rows_look_where_the_eager_attention_maps_say(batch):
    pixels, asked = batch
    model = build_model(3, seed=1).eval()
    with torch.no_grad():
        visual = image_features(model, pixels)
        _, looks = shared_prefix_forward(model, visual, asked.ids, last=asked.last)
    model.set_attn_implementation("eager")
    image = vocabulary.index()[vocabulary.IMAGE]
    prefix = torch.tensor([*batches.prefix_ids(), *[image] * PATCHES])
    for row in (0, 9):
        end = int(asked.last[row]) + 1
        assert asked.ids[row, end - 1] == vocabulary.index()[vocabulary.ASSISTANT]
        which = row // batches.QUESTIONS_PER_SCENE
        with torch.no_grad():
            maps = model(
                input_ids=torch.cat([prefix, asked.ids[row, :end]])[None],
                pixel_values=pixels[which : which + 1],
                output_attentions=True,
            ).attentions
        for look, wanted in zip(looks, maps, strict=True):
            row_of_map = wanted[0].mean(0)[-1, len(prefix) - PATCHES : len(prefix)]
            torch.testing.assert_close(look[row], row_of_map, atol=1e-5, rtol=1e-3)


def test_hidden_tokens_say_nothing_to_the_question(batch):
    pixels, asked = batch
    model = build_model(3, seed=1).eval()
    hidden = torch.zeros(3, len(asked.ids), PATCHES, dtype=torch.bool)
    hidden[:, :8] = True  # the rows of the first picture are blind, those of the second are not

    def logits(image):
        with torch.no_grad():
            visual = image_features(model, image)
            return shared_prefix_forward(model, visual, asked.ids, hidden=hidden)[0]

    one, other = logits(pixels), logits(pixels.flip(-1))
    torch.testing.assert_close(one[:8], other[:8], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(one[8:], other[8:], atol=1e-2)


def test_hiding_leaves_some_rows_alone_and_makes_others_late():
    blind = torch.cat([blind_layers(random.Random(s), 24, 96, 0.25) for s in range(20)], 1)
    clear = (~blind.any(0)).float().mean().item()
    assert 0.2 < clear < 0.3
    first = (~blind).int().argmax(0)
    assert set(first.tolist()) >= set(range(9))
    for seed in range(10):
        hidden = late_tokens(random.Random(seed), 24, 2, 16, PATCHES)
        assert not hidden[7:].any()
        assert torch.equal(hidden[0, :8], hidden[0, :1].expand(8, -1))  # one draw a picture


def test_thinned_rows_see_what_they_are_about_and_some_of_the_rest(batch):
    _, asked = batch
    hidden = thinned(random.Random(0), 5, asked, 1.0)
    about = asked.named | asked.target
    assert not hidden[:2].any()
    assert not (hidden & about).any()
    for layer in hidden[3:]:
        assert torch.equal(layer, hidden[2])
    share = 1 - hidden[2].sum(1) / (~about).sum(1)
    assert ((share > 0.02) & (share < 0.6)).all()
    assert not thinned(random.Random(0), 5, asked, 0.0).any()


def test_guidance_is_least_where_the_look_is_spread_over_what_is_asked(batch):
    _, asked = batch
    nobody = torch.zeros(2, len(asked.ids), dtype=torch.bool)
    wanted = (asked.named | asked.target).float()
    ideal = wanted / wanted.sum(1, keepdim=True).clamp(min=1)
    guides = (Guide(2, "all", 1.0),)

    def loss(look, blind=nobody):
        return guidance(guides, [torch.zeros_like(look), look], asked, blind).item()

    floor = wanted.sum(1)[wanted.any(1)].log().mean().item()
    assert loss(0.3 * ideal) == pytest.approx(floor, abs=1e-3)  # text may have the rest
    assert loss(torch.full_like(ideal, 1 / PATCHES)) > floor + 0.5
    rows = torch.where(torch.arange(len(ideal))[:, None] % 2 == 0, ideal, torch.flip(ideal, [1]))
    odd = (torch.arange(len(ideal)) % 2 == 1).expand(2, -1)
    even = wanted.sum(1)[wanted.any(1) & ~odd[0]].log().mean().item()
    assert loss(rows, odd) == pytest.approx(even, abs=1e-3)


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
