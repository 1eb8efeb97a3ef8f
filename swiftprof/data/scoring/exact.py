"""Exact match of short answers, blind to case, outer punctuation and spacing."""

from __future__ import annotations


def normalise(text: str) -> str:
    return " ".join(text.lower().strip().strip(".!?").split())


def exact_match(prediction: str, answers: tuple[str, ...]) -> float:
    """1.0 where the prediction equals one of the answers."""
    return float(normalise(prediction) in {normalise(a) for a in answers})
