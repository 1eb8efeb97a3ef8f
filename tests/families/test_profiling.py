"""Profiling is exact in every family: scores are its attention, re-runs those made one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swiftprof.core.counts import kept_count
from swiftprof.core.stages import BASE_LAYER
from swiftprof.profiling.decode import end_tokens
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import answer_scores, rerun, rerun_scores
from swiftprof.profiling.steps import Steps

NEW = 4
ROWS = (0, 1, 2)


def recorded(case: Any, *rows: int) -> Any:
    return record(Steps(case.model), case.batch(*rows), case.vlm.image_token_id, NEW)


@torch.no_grad()
def one_by_one(case: Any, row: int, kept: set[int]) -> list[int]:
    """The definition, dumbly: the model's own forward on everything, again for every new token.

    From layer 3 on nobody sees a visual token that was not selected: its column is masked, so what
    becomes of it does not matter. Positions and features are the model's own business.
    """
    prompt, answer = case.batch(row), []
    hidden = [s for s in case.visual(prompt)[0].nonzero().flatten().tolist() if s not in kept]

    def hide(_: Any, args: Any, kwargs: Any) -> Any:
        mask = torch.zeros_like(kwargs["attention_mask"])
        n = mask.shape[-1]
        mask[:] = torch.full((n, n), float("-inf")).triu(1)
        mask[..., hidden] = float("-inf")
        mask[..., range(n), range(n)] = 0.0
        return args, {**kwargs, "attention_mask": mask}

    with case.eager() as model:
        layers = model.get_decoder().layers[BASE_LAYER:]
        hooks = [each.register_forward_pre_hook(hide, with_kwargs=True) for each in layers]
        for _ in range(NEW):
            inputs = case.extended(prompt, torch.tensor(answer, dtype=torch.long))
            answer.append(int(model(**inputs, use_cache=False).logits[0, -1].argmax()))
        for hook in hooks:
            hook.remove()
    return answer


def test_scores_are_the_models_own_attention(case: Any) -> None:
    recording = recorded(case, *ROWS)
    with case.eager() as model, torch.no_grad():
        maps = model(**case.batch(*ROWS), output_attentions=True).attentions
    assert len(maps) == 8
    for layer, attention in enumerate(maps):
        wanted = attention.float().mean(1)[:, -1]
        torch.testing.assert_close(recording.scores[:, layer], wanted, atol=5e-6, rtol=1e-3)


def test_selections_are_the_top_visual_tokens_of_the_eager_maps(case: Any) -> None:
    recording = recorded(case, *ROWS)
    with case.eager() as model, torch.no_grad():
        maps = model(**case.batch(*ROWS), output_attentions=True).attentions
    for b, selection in enumerate(recording.select(0.2)):
        visual = case.visual(case.batch(*ROWS))[b].nonzero().flatten()
        count = kept_count(0.2, len(visual))
        assert selection.shape == (8, count)
        for layer, attention in enumerate(maps):
            scores = attention.float().mean(1)[b, -1]
            worst = scores[visual].sort(descending=True).values[count - 1]
            assert (scores[selection[layer]] >= worst - 1e-6).all()


def test_reruns_equal_reruns_made_one_by_one(case: Any) -> None:
    recording = recorded(case, *ROWS)
    selections = recording.select(0.2)
    answers = rerun(recording, selections, NEW, (), max_rows=7)
    width, different = recording.valid.shape[1], set()
    for b, row in enumerate(ROWS):
        padding = width - int(recording.valid[b].sum())
        for layer in (1, 4, 7):
            kept = set((selections[b][layer] - padding).tolist())
            wanted = one_by_one(case, row, kept)
            assert answers[b][layer] == wanted, (row, layer)
            different.add(tuple(wanted))
    assert len(different) > len(ROWS)  # the selections do change answers


def test_selecting_everything_gives_the_vanilla_answer(case: Any) -> None:
    """Which is that of the model's own generate()."""
    recording, inputs = recorded(case, *ROWS), case.batch(*ROWS)
    ids = case.model.generate(**inputs, do_sample=False, max_new_tokens=NEW)
    for answer, wanted in zip(
        recording.generated, ids[:, inputs["input_ids"].shape[1] :].tolist(), strict=True
    ):
        assert answer == wanted[: len(answer)]
        assert len(answer) == NEW or wanted[len(answer)] in end_tokens(case.model)
    answers = rerun(recording, recording.select(1.0), NEW, ())
    for b in range(len(ROWS)):
        assert all(answer == recording.generated[b] for answer in answers[b])


def test_a_batch_does_not_change_a_sample(case: Any) -> None:
    together = recorded(case, *ROWS)
    answers = rerun(together, together.select(0.2), NEW, ())
    for row in ROWS:
        alone = recorded(case, row)
        assert rerun(alone, alone.select(0.2), NEW, ())[0] == answers[row]


@pytest.mark.parametrize("name", ["qwen3_vl"])
def test_deep_features_are_part_of_the_reruns(build: Any, name: str) -> None:
    """Without them answers differ: the third layer's features do matter, and are there."""
    case = build(name)
    recording = recorded(case, *ROWS)
    assert list(recording.added) == [2]
    selections = recording.select(0.2)
    right = rerun(recording, selections, NEW, ())
    recording.added.clear()
    assert rerun(recording, selections, NEW, ()) != right


def test_likelihood_is_that_of_a_plain_forward(case: Any) -> None:
    """And a re-run on everything is the vanilla run."""
    a, b, c, d = [i for i in range(20, 40) if i != case.vlm.image_token_id][::4][:4]
    answers = torch.tensor([[a, b, c], [d, -1, -1], [b, a, -1]])
    recording = record(Steps(case.model), case.batch(*ROWS), case.vlm.image_token_id, 1, answers)
    scores = answer_scores(recording, answers)
    again = rerun_scores(recording, recording.select(1.0), answers)
    for n, row in enumerate(ROWS):
        answer = answers[n][answers[n] >= 0]
        inputs = case.extended(case.batch(row), answer)
        with torch.no_grad():
            logits = case.model(**inputs, use_cache=False).logits[0, -len(answer) - 1 : -1]
        wanted = logits.log_softmax(-1).gather(1, answer[:, None]).mean().exp()
        assert scores[n] == pytest.approx(float(wanted), rel=1e-3)
        assert again[n] == pytest.approx([scores[n]] * 8, rel=1e-3)
