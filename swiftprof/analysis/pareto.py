"""Score against tokens or FLOPs: methods over budgets, and which of them are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from swiftprof.analysis.base import AtBudget, MethodsOpt, SamplesOpt, Subject, names
from swiftprof.analysis.document import Data, Description
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.drawing import Against, front_of, read_against, score_figure
from swiftprof.evaluation.results import Results
from swiftprof.evaluation.table import NAMES, averages_table, findings, shown_groups
from swiftprof.tables import samples_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from swiftprof.evaluation.settings import VariantSettings

RATIOS = "1/2,1/3,2/9,1/6"


class Front(Data):
    """What was measured.

    Attributes:
        results: the evaluation's.
        cost: what scores are set against.
        left_out: methods that a budget is impossible for, with the reason.
        evaluation: its folder.
    """

    results: Results
    cost: Against = "tokens"
    left_out: tuple[str, ...] = ()
    evaluation: str = ""

    @classmethod
    def of(
        cls,
        results: Results,
        cost: Against = "tokens",
        left_out: Sequence[str] = (),
        where: str = "",
    ) -> Front:
        """From an evaluation's results. Raises SwiftprofError where no score is relative."""
        if not results.groups["overall"]:
            raise SwiftprofError(
                "evaluation: the unpruned model scores 0, so no score is relative to it"
            )
        return cls(
            datasets=results.samples,
            skipped={name: len(each) for name, each in results.skipped.items() if each},
            results=results,
            cost=cost,
            left_out=tuple(left_out),
            evaluation=where,
        )

    def describe(self) -> Description:
        results, said = self.results, list[str]()
        groups = shown_groups(results)
        for group in groups:
            best = front_of(results, group, self.cost) - {VANILLA}
            on = [f"{r.label} ({r.budget})" for r in results.rows if r.variant in best]
            said.append(
                f"{NAMES[group].capitalize()} ({', '.join(results.groups[group])}): pruned methods "
                f"on the Pareto front: {', '.join(on) or 'none'}."
            )
        said += [*findings(results), *(f"Left out: {reason}" for reason in self.left_out)]
        where = f"; {self.evaluation}" if self.evaluation else ""
        measured = (
            f"Greedy answers to {samples_text(self.datasets)}, the same for all methods{where}. On "
            f"the Pareto front: no other has as much score for fewer {self.cost}."
        )
        return Description(measured, tuple(said), (averages_table(results, groups),))

    def draw(self) -> Figure:
        """A panel per group of data sets."""
        return score_figure(self.results, self.cost)


@dataclass(frozen=True)
class Pareto(AtBudget):
    """Which method keeps most of the score at each number of tokens, or of FLOPs?

    Runs an evaluation over several budgets, or reads one. A plan that is given as a file is a point
    beside the methods. A method that a budget is impossible for is left out there, and said so.
    """

    title: ClassVar[str] = "Score against cost"
    needs: ClassVar[str] = "a model and a profile, or a finished evaluation"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze pareto",
        "swiftprof analyze pareto --methods fastv,drop,swiftvlm,searched.json --cost flops",
        "swiftprof analyze pareto --eval evals/tiny-llava-1a2b3c4d",
    )
    data: ClassVar[type[Data]] = Front

    samples: SamplesOpt = 100
    methods: MethodsOpt = "random,fastv,pdrop,sparsevlm,feather,drop,swiftvlm"
    ratio: Annotated[
        str | None,
        typer.Option("--ratio", help="Token budgets as fractions of all.", show_default=RATIOS),
    ] = None
    cost: Annotated[
        str, typer.Option("--cost", help="What scores are set against: tokens or flops.")
    ] = "tokens"
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", help="A finished evaluation's folder, instead of running one."),
    ] = None

    def run(self, subject: Subject) -> Front:
        cost = read_against("cost", self.cost)
        if self.evaluation is not None:
            found = Results.load(self.evaluation)
            return Front.of(found, cost, where=str(self.evaluation))
        wanted, impossible = self.variants(subject)
        done = self.answers(subject, wanted)
        return Front.of(done.results, cost, impossible, str(done.path))

    def variants(self, subject: Subject) -> tuple[list[VariantSettings], list[str]]:
        """Every possible pair of method and budget, and why the others are not.

        Raises SwiftprofError where not one is possible.
        """
        from swiftprof.evaluation.specs import parse_spec

        targets, impossible = self.targets(RATIOS), list[str]()
        specs = [parse_spec(each) for each in names(self.methods)]
        found = subject.planner(self.budget).variants(specs, targets, impossible)
        if len(found) == 1:
            raise SwiftprofError(impossible[0] if impossible else "`methods`: name one that prunes")
        return found, impossible


ANALYSIS = Pareto
