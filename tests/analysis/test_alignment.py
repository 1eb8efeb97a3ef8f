"""Following bypassed tokens: what is followed is what the runtime does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from swiftprof.analysis.alignment import measure
from swiftprof.analysis.following import run_batch
from swiftprof.analysis.sampling import Sampling
from swiftprof.data.registry import get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.planning.api import plan as make_plan
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

IMAGE = 127


def entering(model: Any, plan: Any, inputs: dict[str, Any], cut: int) -> tuple[Any, Any]:
    """Hidden states that really enter a layer of a pruned run, and the run's trace."""
    seen, trace = [], Trace()

    def hook(_: Any, args: Any, kwargs: Any) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    layers = model.get_decoder().layers
    with torch.inference_mode(), prune(model, plan, on_stage=trace):
        handle = layers[cut].register_forward_pre_hook(hook, with_kwargs=True)
        model.generate(**inputs, do_sample=False, max_new_tokens=1)
        handle.remove()
    return seen[0], trace.prefills[0]


def test_returned_states_are_those_that_the_runtime_goes_on_with(
    llava: Any, prompts: Any, plan_of: Callable[..., Any]
) -> None:
    plan = plan_of((2, 0.5, 0.1), (5, 0.4, 0.1), (7, 0.3))
    inputs = prompts.batch(0, 1)
    rows = run_batch(llava, inputs, plan, IMAGE)
    for stage, cut in ((1, 4), (2, 6)):
        hidden, run = entering(llava, plan, inputs, cut)
        before, now = run.events[stage - 1], run.events[stage]
        for row, followed in enumerate(f[stage - 1] for f in rows):
            rest = (before.group[row] >= 0).nonzero()[:, 0].tolist()
            valid = inputs["attention_mask"][row].bool()
            visual = inputs["input_ids"][row] == IMAGE
            there = ((valid & ~visual) | now.kept[row] | now.merged[row]).nonzero()[:, 0].tolist()
            column = {slot: hidden.shape[1] - len(there) + n for n, slot in enumerate(there)}
            back = [n for n, slot in enumerate(rest) if now.kept[row, slot]]
            assert back  # some bypassed tokens were kept again
            for n in back:
                state = hidden[row, column[rest[n]]]
                assert torch.allclose(followed.state[n], state, atol=1e-5)


def test_with_a_group_for_each_token_nothing_is_lost(
    llava: Any, prompts: Any, plan_of: Callable[..., Any]
) -> None:
    plan = plan_of((2, 0.5, 0.5), (6, 0.5))  # 18 of 36 kept, 18 merged: each alone
    for (followed,) in run_batch(llava, prompts.batch(0, 2), plan, IMAGE):
        assert len(followed.merged) == len(followed.change) == 18
        assert torch.allclose(followed.merged[followed.group], followed.change, atol=1e-4)
        assert torch.allclose(followed.state, followed.true, atol=1e-4)


def test_events_tell_which_merged_token_stands_for_each_unselected_one(
    llava: Any, prompts: Any, plan_of: Callable[..., Any]
) -> None:
    trace = Trace()
    with prune(llava, plan_of((2, 0.5, 0.1), (5, 0.3)), on_stage=trace):
        llava.generate(**prompts.batch(0, 1, 2), do_sample=False, max_new_tokens=1)
    first, last = trace.prefills[0].events
    assert last.group is None
    rest = first.visual & ~first.kept
    assert torch.equal(first.group >= 0, rest)
    for row in range(3):
        assert set(first.group[row][rest[row]].tolist()) == set(
            first.merged[row].nonzero()[:, 0].tolist()
        )
        seeds = first.merged[row].nonzero()[:, 0]
        assert torch.equal(first.group[row][seeds], seeds)  # a seed stands for itself


def test_measured_and_described(bundled: Any, made_profile: Any) -> None:
    plans = {
        share: make_plan(made_profile, 3, ratio=1 / 3, bootstrap=0, merge_share=share)
        for share in (0.05, 0.02)
    }
    data = measure(Sampling(bundled, get_datasets(["scenes-qa"]), 2), plans)
    assert [s.merge for s in data.settings] == [0.05, 0.02]
    for setting in data.settings:
        assert [(s.after, s.before) for s in setting.steps] == [(3, 7), (7, 11)]
        for step in setting.steps:
            assert -1 <= step.cosine <= 1 + 1e-6
            for errors in (step.group_mean, step.token, step.ideal, step.state, step.stale):
                assert len(errors) == 5
                assert errors == sorted(errors)
    assert data.settings[0].steps[0].groups > data.settings[1].steps[0].groups
    assert "from layer 3 to 7" in data.describe().findings[0]


def test_only_plans_that_bring_tokens_back_can_be_followed(bundled: Any, made_profile: Any) -> None:
    sampling = Sampling(bundled, get_datasets(["scenes-qa"]), 1)
    dropping = make_plan(made_profile, 3, ratio=1 / 3, bootstrap=0, method="drop")
    single = make_plan(made_profile, 1, ratio=1 / 3, bootstrap=0)
    for plan in (dropping, single):
        with pytest.raises(SwiftprofError, match="bypass"):
            measure(sampling, {0.05: plan})
