"""What several methods answered to the same samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import Answer
from swiftprof.evaluation.api import Evaluation
from swiftprof.evaluation.results import Results, scores_of
from swiftprof.evaluation.statistics import Scores
from swiftprof.evaluation.store import Answers


@dataclass(frozen=True)
class Together:
    """Answers to the samples that every method answered.

    Attributes:
        answers: label -> data set -> answers in the order drawn.
        used, skipped: data set -> how many of its samples these are, and how many not.
    """

    answers: Answers
    used: dict[str, int]
    skipped: dict[str, int]

    @classmethod
    def of(cls, done: Evaluation, sets: Iterable[str]) -> Together:
        """Of these data sets. Raises SwiftprofError where a method fails on all of one."""
        answers: dict[str, dict[str, list[Answer]]] = {label: {} for label in done.answers}
        used, skipped = {}, {}
        for name in sets:
            places = [{a.place for a in each[name]} for each in done.answers.values()]
            common = set.intersection(*places)
            if not common:
                raise SwiftprofError(f"data set {name}: some methods fail on every sample")
            for label, each in done.answers.items():
                answers[label][name] = [a for a in each[name] if a.place in common]
            used[name] = len(common)
            if lost := len(done.results.draw[name]) - len(common):
                skipped[name] = lost
        return cls(answers, used, skipped)

    @property
    def scores(self) -> dict[str, Scores]:
        """Label -> data set -> scores of the samples, in one order for all."""
        return scores_of(self.answers)


def relative_sets(results: Results) -> tuple[str, ...]:
    """Data sets whose scores are relative to the unpruned model's; raises where there is none."""
    found = results.groups["overall"]
    if not found:
        raise SwiftprofError(
            "evaluation: the unpruned model scores 0, so no score is relative to it"
        )
    return found
