"""Overlap with the unpruned model's selection, against plain sets."""

from __future__ import annotations

from typing import Any

import pytest

from swiftprof.analysis.overlap import measure
from swiftprof.analysis.sampling import Sampling
from swiftprof.data.registry import get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.profiling.record import record


def evenly(n: int, count: int) -> set[int]:
    """What `uniform` keeps of n tokens."""
    return {
        i for i in range(n) if (2 * (i + 1) * count + n) // (2 * n) > (2 * i * count + n) // (2 * n)
    }


def test_overlap_is_the_share_of_the_best_tokens_that_are_left(
    bundled: Any, made_profile: Any
) -> None:
    model, n = made_profile.model, bundled.visual_tokens
    plans = {
        "uniform": Plan(model=model, method="uniform", stages=(Stage(layer=5, keep=0.25),)),
        "drop": Plan(model=model, method="drop", stages=(Stage(layer=5, keep=0.25),)),
    }
    sampling = Sampling(bundled, get_datasets(["scenes-qa"]), 3, batch_size=3)
    data = measure(sampling, plans, "drop")
    assert data.layer == 5
    (batch,) = sampling.batches()
    recording = record(bundled.model, batch.inputs, bundled.image_token_id, 1)
    kept = evenly(n, round(0.25 * n))
    expected = []
    for scores, visual in zip(recording.scores[:, 4], recording.visual, strict=True):
        mine = scores[visual].tolist()
        best = sorted(range(n), key=lambda t: (-mine[t], t))[: int(0.1 * n + 0.5)]
        expected.append(len(kept & set(best)) / len(best))
    found = {(o.method, o.top): o for o in data.overlaps}
    assert found["uniform", 0.1].mean["scenes-qa"].value == pytest.approx(
        sum(expected) / 3, abs=1e-4
    )
    # one stage after layer 5 selects by the unpruned model's own ranking there
    assert found["drop", 0.05].mean["scenes-qa"].low == 1
    assert found["drop", 0.05].kept == pytest.approx(0.25)
    change = {(m, top): d.value for m, top, _, d in data.differences}
    assert change["uniform", 0.1] == pytest.approx(sum(expected) / 3 - 1, abs=1e-4)
    assert "uniform keeps fewer" in data.describe().findings[0]


def test_a_plan_without_stages_cannot_overlap(bundled: Any, made_profile: Any) -> None:
    plan = Plan(model=made_profile.model, method="vanilla", stages=())
    with pytest.raises(SwiftprofError, match="keeps every token"):
        measure(Sampling(bundled, get_datasets(["scenes-qa"]), 1), {"vanilla": plan}, "vanilla")
