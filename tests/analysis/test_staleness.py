"""Staleness: x_i(t) against the runtime, its plans against brute force."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch

from swiftprof.analysis.sampling import Sampling
from swiftprof.analysis.staleness import Staleness, best_layers
from swiftprof.analysis.used_from import measured
from swiftprof.data.registry import get_datasets
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.runtime.prune import prune

KEEP = 0.2


def dumb_best(x: Any, stages: int) -> float:
    size, best = len(x), -np.inf
    for count in range(stages):
        for others in combinations(range(1, size), count):
            chosen = (0, *others, size)
            loss = sum((1 if j == size else x[i, j]) - x[i, i] for i, j in pairwise(chosen))
            best = max(best, 1 - loss)
    return float(best)


def test_the_program_finds_what_trying_everything_finds() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        x = random.random((6, 6))
        x[np.tril_indices(6, -1)] = np.nan  # nobody uses a selection before it is made
        for stages in range(1, 7):
            layers, value = best_layers(x, stages)
            assert value == pytest.approx(dumb_best(x, stages))
            assert layers[0] == 3
            assert len(layers) <= stages
            places = [*(layer - 3 for layer in layers), 6]
            mine = 1 - sum((1 if j == 6 else x[i, j]) - x[i, i] for i, j in pairwise(places))
            assert mine == pytest.approx(value)


def likelihood(vlm: Any, plan: Plan | None, sample: Any, dataset: Any) -> float:
    """Geometric mean probability of the answer's tokens in a run that is made to say it."""
    inputs = vlm.inputs([sample.images], [sample.question])
    ids = vlm.processor.tokenizer(dataset.reference(sample), add_special_tokens=False)["input_ids"]
    prompt = inputs["input_ids"].shape[1]
    options = {
        "prefix_allowed_tokens_fn": lambda _, seen: [ids[len(seen) - prompt]],
        "max_new_tokens": len(ids), "do_sample": False,
        "output_logits": True, "return_dict_in_generate": True,
    }  # fmt: skip
    with torch.inference_mode():
        if plan is None:
            out = vlm.model.generate(**inputs, **options)
        else:
            with prune(vlm.model, plan):
                out = vlm.model.generate(**inputs, **options)
    logs = [
        torch.log_softmax(row[0].float(), -1)[i] for row, i in zip(out.logits, ids, strict=True)
    ]
    return float(torch.stack(logs).mean().exp())


def test_a_fresh_selection_is_what_a_plan_that_drops_before_its_layer_does(
    bundled: Any, made_profile: Any
) -> None:
    (dataset,) = get_datasets(["scenes-text"])
    sampling = Sampling(bundled, [dataset], 2, split="train")
    x = measured(sampling, KEEP)
    samples = [sample for batch in sampling.batches() for sample in batch.samples]
    whole = [likelihood(bundled, None, each, dataset) for each in samples]
    for layer in (3, 7, 20):
        plan = Plan(
            model=made_profile.model, method="drop", options={"first": "before"},
            stages=(Stage(layer=layer, keep=KEEP),),
        )  # fmt: skip
        pruned = [likelihood(bundled, plan, each, dataset) for each in samples]
        assert x[layer - 3, layer - 3] == pytest.approx(sum(pruned) / sum(whole), rel=1e-3)
    assert np.isnan(x[np.tril_indices(len(x), -1)]).all()
    assert np.isfinite(x[np.triu_indices(len(x))]).all()


def test_all_tokens_lose_nothing(bundled: Any) -> None:
    x = measured(Sampling(bundled, get_datasets(["scenes-qa"]), 1, split="train"), 1.0)
    assert x[np.triu_indices(len(x))] == pytest.approx(1, abs=1e-4)


def test_plans_are_compared_on_held_out_samples(subject: Any) -> None:
    data = Staleness(samples=2, check=2, stages="2", ratio="1/3").run(subject("scenes-qa"))
    assert [c.name.split(",")[0] for c in data.checked] == [
        "the paper's",
        "by staleness",
        "evenly spaced",
    ]
    assert data.checked[0].layers == [3, 7, 11]
    layers, predicted = best_layers(data.matrix, 2)
    assert data.checked[1].layers == list(layers)
    assert data.checked[1].predicted == pytest.approx(predicted, abs=1e-4)
    assert all(c.tflops for c in data.checked)
    assert data.check == data.datasets == {"scenes-qa": 2}
    assert "the paper's plan" in data.describe().findings[-1]
