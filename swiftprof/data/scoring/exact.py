"""Exact match of short answers."""

from __future__ import annotations

import string

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    return " ".join(text.lower().strip().strip(".!?").split())


def exact_match(prediction: str, answers: tuple[str, ...]) -> float:
    """1.0 where the prediction equals one of the answers, blind to case, outer marks, spacing."""
    return float(normalise(prediction) in {normalise(a) for a in answers})


def gqa_match(prediction: str, answer: str) -> float:
    """GQA accuracy as lmms-eval counts it: equal, blind to case and to all punctuation.

    GQA's own script compares the texts as they are; LLaVA lower-cases the prediction and cuts full
    stops off its end before that. The three differ only where an answer holds punctuation.
    """
    said, wanted = (t.lower().translate(_NO_PUNCTUATION).strip() for t in (prediction, answer))
    return float(said == wanted)
