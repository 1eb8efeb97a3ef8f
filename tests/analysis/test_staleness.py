"""Staleness: x_i(t) against the runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from swiftprof.analysis.sampling import Sampling
from swiftprof.analysis.staleness import Staleness, measured
from swiftprof.data.registry import get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.runtime.prune import prune

KEEP = 0.2


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


def test_what_age_costs_is_read_off_the_matrix(subject: Any) -> None:
    data = Staleness(samples=1, keep=0.3).run(subject("scenes-qa"))
    x = data.matrix
    assert x.shape == (data.num_layers - 2,) * 2
    assert data.loss_of_age(0) == 0
    old = [x[t, t] - x[t - 4, t] for t in range(4, len(x))]
    assert data.loss_of_age(4) == pytest.approx(sum(old) / len(old))
    assert f"most at layer {3 + int(np.argmax(np.diag(x)))} " in data.describe().findings[1]
    with pytest.raises(SwiftprofError, match="keep"):
        Staleness(keep=0.0).run(subject("scenes-qa"))
