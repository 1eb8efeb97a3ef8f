"""Analyses: why a plan works, or does not. One analysis is one file and one line in `REGISTRY`.

A module has `Data`, a pydantic model with everything that was measured, `describe`, which says it
in sentences and tables, and functions that measure. Nothing here draws: figures are made from
`Data` alone, by `swiftprof.report.figures`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REGISTRY", "Analysis"]


@dataclass(frozen=True)
class Analysis:
    """One line of the list of analyses.

    Attributes:
        title: of the figure and of its section in a report.
        question: what it answers.
        needs: what it works from.
    """

    title: str
    question: str
    needs: str


REGISTRY: dict[str, Analysis] = {
    "ranks": Analysis(
        "Rank variation between layers",
        "Do later layers want the visual tokens that earlier layers rank lowest?",
        "a model; a profile adds more samples",
    ),
    "curve": Analysis(
        "Capability of every layer",
        "Which layers can tell important visual tokens from unimportant ones, on which data set?",
        "a profile",
    ),
    "reading": Analysis(
        "Where visual tokens are read",
        "After which layer are visual tokens no longer needed, and how few does each layer need?",
        "a model and a profile",
    ),
    "stability": Analysis(
        "Stability of the plan",
        "How much of the plan is luck of the samples, and how many pruning layers pay?",
        "a profile",
    ),
    "alignment": Analysis(
        "Alignment of bypassed tokens",
        "Do bypassed tokens come back where the unpruned model would have them?",
        "a model and a profile",
    ),
    "overlap": Analysis(
        "Overlap with the unpruned model's selection",
        "Does the last stage keep the tokens that the unpruned model attends to there?",
        "a model and a profile",
    ),
    "pictures": Analysis(
        "What each method keeps",
        "Which patches are left after each stage, and what does the model answer from them?",
        "a model and a profile",
    ),
    "plans": Analysis(
        "How good the plan is",
        "Do the planned layers beat other layers at the same cost, and does the objective tell?",
        "a model and a profile",
    ),
    "pareto": Analysis(
        "Score against retained tokens",
        "Which method keeps most of the score at each number of tokens?",
        "a model and a profile, or a finished evaluation",
    ),
}
"""Names of the analyses, in the order in which they tell the story."""
