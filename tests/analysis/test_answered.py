"""Methods are compared on the samples that all of them answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from swiftprof.analysis.answered import Together
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import Answer


def answer(place: int, score: float) -> Answer:
    return Answer(
        variant="", place=place, id=str(place), kind="", group="", question="?", answers=("a",),
        prediction="a", score=score, n_visual=4, text_tokens=3, retained=2.0, tflops=1.0,
        seconds=0.1,
    )  # fmt: skip


def evaluation(**places: list[int]) -> Any:
    """Each method's score at a place is the place."""
    answers = {m: {"a": [answer(p, float(p)) for p in found]} for m, found in places.items()}
    return SimpleNamespace(answers=answers, results=SimpleNamespace(draw={"a": [7, 8, 9, 10]}))


def test_samples_that_one_method_lacks_count_for_none() -> None:
    found = Together.of(evaluation(vanilla=[0, 1, 3], drop=[3, 1], swiftvlm=[0, 1, 3]), ["a"])
    assert (found.used, found.skipped) == ({"a": 2}, {"a": 2})
    assert {m: s["a"].tolist() for m, s in found.scores.items()} == {
        "vanilla": [1, 3],
        "drop": [1, 3],
        "swiftvlm": [1, 3],
    }


def test_a_method_that_answers_nothing_is_refused() -> None:
    with pytest.raises(SwiftprofError, match="data set a: some methods fail"):
        Together.of(evaluation(vanilla=[0, 1], drop=[]), ["a"])
