"""Pictures: the samples are those of the rule, the patches those of the run."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swiftprof.analysis.patches import stage_patches
from swiftprof.analysis.pictures import PicturesAnalysis, chosen, shared
from swiftprof.analysis.traced import decode
from swiftprof.data.asking import ask_all
from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_dataset
from swiftprof.errors import SwiftprofError
from swiftprof.planning.api import plan as make_plan
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace


@pytest.mark.parametrize(("pick", "expected"), [("first", [0, 1, 2]), ("disagree", [1])])
def test_rules_choose_samples_in_the_order_drawn(pick: str, expected: list[int]) -> None:
    scores = {"vanilla": (0, 1, 1), "drop": (0, 0, 0), "swiftvlm": (0, 1, 0)}
    samples = shared(answers(scores), "a")
    assert [samples.index(each) for each in chosen(samples, pick)] == expected


def test_samples_that_one_method_lacks_count_for_none() -> None:
    found = shared(answers({"vanilla": (0, 1, None, 3), "drop": (3, None, 1, 1)}), "a")
    assert [{label: a.score for label, a in each.items()} for each in found] == [
        {"vanilla": 0, "drop": 3},
        {"vanilla": 3, "drop": 1},
    ]
    with pytest.raises(SwiftprofError, match="data set a: some methods fail"):
        shared(answers({"vanilla": (0, 1), "drop": (None, None)}), "a")


def answers(scores: dict[str, tuple[float | None, ...]]) -> Any:
    """Each method's scores of the samples at places 0, 1, …; None where it has no answer."""
    return {
        label: {
            "a": [
                SimpleNamespace(variant=label, place=place, score=score)
                for place, score in enumerate(each)
                if score is not None
            ]
        }
        for label, each in scores.items()
    }


def test_patches_answers_and_boxes_are_those_of_the_run(
    subject: Any, bundled: Any, made_profile: Any
) -> None:
    plan = make_plan(made_profile, 3, ratio=1 / 3, bootstrap=0)
    analysis = PicturesAnalysis(samples=2, show=3, pick="first")
    data = analysis.measured(subject("scenes-ref", "scenes-qa"), {"swiftvlm": plan})
    assert [p.dataset for p in data.pictures] == ["scenes-ref", "scenes-ref", "scenes-qa"]
    picture, dataset = data.pictures[0], get_dataset("scenes-ref")
    index = draw(dataset, "test", 2, 0)[0]
    (sample,), _ = ask_all(dataset, "test", [index], bundled)
    assert (picture.id, picture.question) == (sample.id, sample.question)
    assert decode(picture.image).tobytes() == sample.images[0].convert("RGB").tobytes()
    inputs, trace = bundled.inputs([sample.images], [sample.question]), Trace()
    with torch.inference_mode(), prune(bundled.model, plan, on_stage=trace):
        ids = bundled.model.generate(**inputs, do_sample=False, max_new_tokens=12)
    said = bundled.decode(ids[:, inputs["input_ids"].shape[1] :])[0]
    whole, pruned = picture.methods
    assert (whole.label, whole.stages) == ("vanilla", [])
    assert pruned.prediction == said
    kept = [trace.prefills[0].kept(j, 0) for j in range(3)]
    assert [s.kept for s in pruned.stages] == kept
    back = [[], *(sorted(set(b) - set(a)) for a, b in pairwise(kept))]
    assert [s.returned for s in pruned.stages] == back
    assert any(back)  # bypassed tokens do come back
    assert pruned.stages == stage_patches(trace.prefills[0])
    assert picture.box is not None
    assert picture.answers == list(sample.answers)
    assert data.pictures[2].box is None  # the answer is a word
    assert "not typical" not in " ".join(data.describe().findings)
