"""The likelihood of an answer is the model's own, pruned or not."""

from __future__ import annotations

import pytest
import torch

from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.profiling.steps import Steps
from swiftprof.runtime.prune import prune
from swiftprof.search.likelihood import answer_likelihood, begins, run_shared

ANSWERS = torch.tensor([[11, 12, 13], [21, 22, -1], [31, -1, -1]])


def make(*stages, **options):
    parts = [Stage(layer=s[0], keep=s[1], merge=s[2] if len(s) > 2 else 0.0) for s in stages]
    return Plan(model=ModelInfo(name="m", num_layers=8), stages=tuple(parts), options=options)


PLANS = {
    "vanilla": None,
    "paper": make((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1)),
    "before": make((3, 0.5, 0.1), (4, 0.3, 0.1), (5, 0.2, 0.1), (7, 0.1), first="before"),
    "spread": make((2, 0.4), (6, 0.2), first="before", spread=0.5),
    "sampled": make((1, 0.2), spread=1.0),
}


@torch.no_grad()
def by_decoding(model, inputs, answer, plan):
    """Prefill the prompt alone and feed the answer token by token, one row."""
    log = []
    with prune(model, plan) if plan is not None else torch.no_grad():
        out = model(**inputs, use_cache=True)
        mask = inputs["attention_mask"]
        for token in answer[answer >= 0]:
            log.append(out.logits[0, -1].log_softmax(-1)[token])
            mask = torch.cat([mask, mask.new_ones(1, 1)], 1)
            out = model(
                input_ids=token.view(1, 1),
                attention_mask=mask,
                past_key_values=out.past_key_values,
                use_cache=True,
            )
    return float(torch.stack(log).mean().exp())


@pytest.mark.parametrize("name", PLANS)
def test_one_pass_equals_feeding_the_answer_token_by_token(llava, prompts, name):
    plan = PLANS[name]
    inputs = prompts.batch(0, 1, 2)
    shared = run_shared(llava, inputs, ANSWERS, {begins(plan, 8)})
    found = answer_likelihood(Steps(llava), shared, plan)
    for row in range(3):
        alone = by_decoding(llava, prompts.batch(row), ANSWERS[row], plan)
        assert found[row] == pytest.approx(alone, rel=1e-4)


def test_candidates_share_one_run_and_do_not_disturb_each_other(llava, prompts):
    steps, inputs = Steps(llava), prompts.batch(0, 1)
    shared = run_shared(llava, inputs, ANSWERS[:2], {begins(p, 8) for p in PLANS.values()})
    first = {name: answer_likelihood(steps, shared, plan) for name, plan in PLANS.items()}
    again = {name: answer_likelihood(steps, shared, plan) for name, plan in PLANS.items()}
    assert first == again
    assert len({tuple(values) for values in first.values()}) == len(PLANS)
