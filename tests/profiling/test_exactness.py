"""Selections and re-runs are exact: equal to eager attention maps and to one-by-one re-runs."""

from __future__ import annotations

import pytest
import torch

from swiftprof.core.counts import kept_count
from swiftprof.core.stages import BASE_LAYER
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import rerun
from swiftprof.profiling.steps import Steps

NEW = 5
IMAGE = 127
FAMILIES = ["llama", "mistral", "qwen2", "qwen3"]


def _visual_features(model, pixels):
    out = model.model.get_image_features(pixel_values=pixels)
    return torch.cat(list(getattr(out, "pooler_output", out)))


@torch.no_grad()
def one_by_one(model, ids, pixels, kept_slots, eos=()):
    """The definition, dumbly: the whole sequence again for every new token, no cache, no batch."""
    text, answer = model.model.language_model, []
    prompt, ids = len(ids), ids[None]
    for _ in range(NEW):
        hidden = model.get_input_embeddings()(ids)
        visual = (ids == IMAGE) & (torch.arange(ids.shape[1]) < prompt)  # it may say <image> itself
        hidden = hidden.masked_scatter(visual[..., None], _visual_features(model, pixels[None]))
        keep = ~visual[0]
        keep[kept_slots] = True
        positions = torch.arange(ids.shape[1])[None]
        for i, layer in enumerate(text.layers):
            if i == BASE_LAYER:
                hidden, positions = hidden[:, keep], positions[:, keep]
            n = hidden.shape[1]
            causal = torch.full((n, n), float("-inf")).triu(1)[None, None]
            hidden = layer(
                hidden,
                attention_mask=causal,
                position_embeddings=text.rotary_emb(hidden, positions),
            )
        token = int(model.lm_head(text.norm(hidden[:, -1])).argmax(-1))
        if token in eos:
            break
        answer.append(token)
        ids = torch.cat([ids, torch.tensor([[token]])], 1)
    return answer


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_models_own_attention(make_llava, prompts, family):
    model, inputs = make_llava(text=family), prompts.batch(0, 1, 2)
    recording = record(Steps(model), inputs, IMAGE, NEW)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(**inputs, output_attentions=True).attentions
    for layer, attention in enumerate(maps):
        wanted = attention.float().mean(1)[:, -1]
        torch.testing.assert_close(recording.scores[:, layer], wanted, atol=2e-6, rtol=1e-4)


def test_selection_is_the_top_of_the_visual_scores(llava, prompts):
    recording = record(Steps(llava), prompts.batch(0, 1, 2), IMAGE, NEW)
    for b, selection in enumerate(recording.select(0.2)):
        visual = recording.visual[b].nonzero()[:, 0].tolist()
        for layer in range(8):
            scores = recording.scores[b, layer].tolist()
            best = sorted(visual, key=lambda slot: (-scores[slot], slot))
            assert selection[layer].tolist() == sorted(best[: kept_count(0.2, 36)])


@pytest.mark.parametrize(("family", "attn"), [*((f, "sdpa") for f in FAMILIES), ("llama", "eager")])
def test_reruns_equal_reruns_made_one_by_one(make_llava, prompts, family, attn):
    model = make_llava(text=family, seed=3, attn=attn)
    rows = (0, 1, 2)
    inputs = prompts.batch(*rows)
    recording = record(Steps(model), inputs, IMAGE, NEW)
    selections = recording.select(0.2)
    answers = rerun(recording, selections, NEW, (), max_rows=7)
    different = set()
    for b, row in enumerate(rows):
        ids, padding = prompts.ids[row], inputs["input_ids"].shape[1] - len(prompts.ids[row])
        for layer in range(1, 8, 2):
            kept = selections[b][layer] - padding
            wanted = one_by_one(model, ids, prompts.pixels[row], kept)
            assert answers[b][layer] == wanted
            different.add(tuple(wanted))
    assert len(different) > len(rows)  # the selections do change answers


def test_finished_rows_leave_and_answers_stay(llava, prompts):
    """With end tokens some rows stop early; the others must not notice."""
    inputs = prompts.batch(0, 1, 2)
    recording = record(Steps(llava), inputs, IMAGE, NEW)
    selections = recording.select(0.2)
    endless = rerun(recording, selections, NEW, ())
    firsts = [answer[1] for sample in endless for answer in sample]
    ends = sorted(set(firsts))[: max(1, 2 * len(set(firsts)) // 3)]
    stopped = rerun(recording, selections, NEW, ends)
    lengths = set()
    for long, short in zip(endless, stopped, strict=True):
        for a, b in zip(long, short, strict=True):
            cut = next((i for i, token in enumerate(a) if token in ends), NEW)
            assert b == a[:cut]
            lengths.add(len(b))
    assert len(lengths) > 1


def test_selecting_everything_gives_the_vanilla_answer(llava, prompts):
    recording = record(Steps(llava), prompts.batch(0, 1, 2), IMAGE, NEW)
    answers = rerun(recording, recording.select(1.0), NEW, ())
    for b in range(3):
        assert all(answer == recording.generated[b] for answer in answers[b])


def test_batch_does_not_change_a_sample(llava, prompts):
    together = record(Steps(llava), prompts.batch(0, 1, 2), IMAGE, NEW)
    answers = rerun(together, together.select(0.2), NEW, ())
    for row in range(3):
        alone = record(Steps(llava), prompts.batch(row), IMAGE, NEW)
        assert rerun(alone, alone.select(0.2), NEW, ())[0] == answers[row]


def test_no_hook_stays_behind(llava, prompts):
    record(Steps(llava), prompts.batch(0), IMAGE, NEW)
    assert not any(module._forward_pre_hooks for module in llava.modules())
