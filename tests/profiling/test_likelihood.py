"""`--score nll` is the likelihood of the reference answer, as plain forwards give it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swiftprof.core.stages import BASE_LAYER
from swiftprof.data.base import Sample
from swiftprof.data.frames import frame_of
from swiftprof.data.registry import get_dataset
from swiftprof.profiling import api
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import answer_scores, rerun_scores
from swiftprof.profiling.steps import Steps

IMAGE = 127
ANSWERS = torch.tensor([[5, 9, 33], [7, -1, -1], [11, 2, -1]])


@torch.no_grad()
def likelihood(model, ids, pixels, answer, kept_slots=None):
    """The whole sequence through the layers, once; nothing shared, nothing batched."""
    text, prompt = model.model.language_model, len(ids)
    ids = torch.cat([ids, answer])[None]
    hidden = model.get_input_embeddings()(ids)
    visual = (ids == IMAGE) & (torch.arange(ids.shape[1]) < prompt)
    features = model.model.get_image_features(pixel_values=pixels[None])
    features = torch.cat(list(getattr(features, "pooler_output", features)))
    hidden = hidden.masked_scatter(visual[..., None], features)
    keep = torch.ones(ids.shape[1], dtype=torch.bool)
    if kept_slots is not None:
        keep = ~visual[0]
        keep[kept_slots] = True
    positions = torch.arange(ids.shape[1])[None]
    for i, layer in enumerate(text.layers):
        if i == BASE_LAYER:
            hidden, positions = hidden[:, keep], positions[:, keep]
        n = hidden.shape[1]
        causal = torch.full((n, n), float("-inf")).triu(1)[None, None]
        rope = text.rotary_emb(hidden, positions)
        hidden = layer(hidden, attention_mask=causal, position_embeddings=rope)
    logits = model.lm_head(text.norm(hidden[0, -len(answer) - 1 : -1]))
    log = logits.log_softmax(-1).gather(1, answer[:, None])
    return float(log.mean().exp())


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_scores_equal_plain_forwards(make_llava, prompts, family):
    model, rows = make_llava(text=family, seed=3), (0, 1, 2)
    inputs = prompts.batch(*rows)
    recording = record(Steps(model), inputs, IMAGE, 1, ANSWERS)
    vanilla = answer_scores(recording, ANSWERS)
    selections = recording.select(0.2)
    reruns = rerun_scores(recording, selections, ANSWERS, max_rows=7)
    found = set()
    for b, row in enumerate(rows):
        answer = ANSWERS[b][ANSWERS[b] >= 0]
        ids, pixels = prompts.ids[row], prompts.pixels[row]
        padding = inputs["input_ids"].shape[1] - len(ids)
        assert vanilla[b] == pytest.approx(likelihood(model, ids, pixels, answer), rel=1e-4)
        for layer in range(1, 8, 2):
            wanted = likelihood(model, ids, pixels, answer, selections[b][layer] - padding)
            assert reruns[b][layer] == pytest.approx(wanted, rel=1e-4)
            found.add(round(wanted, 7))
    assert len(found) > len(rows)


def test_selections_are_those_of_the_prompt_alone(llava, prompts):
    inputs = prompts.batch(0, 1, 2)
    alone = record(Steps(llava), inputs, IMAGE, 4)
    with_answer = record(Steps(llava), inputs, IMAGE, 1, ANSWERS)
    for a, b in zip(alone.select(0.3), with_answer.select(0.3), strict=True):
        assert torch.equal(a, b)


def test_profile_has_the_same_form(bundled, small_profile, tmp_path):
    names = list(small_profile.datasets)
    done = api.profile(bundled, names, samples=8, out=tmp_path / "nll", score="nll")
    assert done.layers == small_profile.layers
    for name in names:
        scores = done.samples[name]
        assert scores.reruns.shape == small_profile.samples[name].reruns.shape
        assert (scores.vanilla > 0).all()
        assert (scores.vanilla <= 1).all()
        assert len(np.unique(scores.reruns)) > 10  # smoother than right or wrong
        assert "teacher-forced" in done.summary.settings.protocol[name]
        assert "greedy" not in done.summary.settings.protocol[name]


def test_the_reference_is_the_most_frequent_answer():
    dataset = get_dataset("scenes-qa")
    sample = dataset.sample("train", 0)
    many = Sample("a", sample.image, "q", ("two", "cat", "one", "cat", "two"))
    assert dataset.reference(sample) == sample.answers[0]
    assert dataset.reference(many) == "two"


def test_boxes_are_told_in_the_models_coordinates():
    frame = frame_of((640, 480), "pad", "unit")
    text = frame.text((64.0, 96.0, 320.0, 240.0))
    assert text == "[0.10, 0.28, 0.50, 0.50]"  # padded by 80 pixels above
    values = tuple(float(v) for v in text.strip("[]").split(","))
    assert frame.to_pixels(values) == pytest.approx((64, 96, 320, 240), abs=4)
    assert frame_of((500, 500), "whole", "thousandths").text((50, 100, 250, 500)) == (
        "[100, 200, 500, 1000]"
    )
