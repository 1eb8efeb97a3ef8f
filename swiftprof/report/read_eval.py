"""An evaluation folder as a part of a page: the tables, the tests in words, samples."""

from __future__ import annotations

from pathlib import Path

from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.drawing import score_figure
from swiftprof.evaluation.results import PairedTest, Results
from swiftprof.evaluation.store import read_answers
from swiftprof.evaluation.table import NAMES, SIGNIFICANT, how, tables
from swiftprof.report.drawing import drawing
from swiftprof.report.images import Album
from swiftprof.report.page import Card, Page, Said, Section, run_facts, short
from swiftprof.runs.folder import Run
from swiftprof.tables import shares

MANY = 2
"""Budgets up to which the findings name every group of data sets."""


def read_eval(folder: Path, shown: int, album: Album, prefix: str = "eval-") -> Page:
    """A section and the first samples of each data set.

    Raises:
        SwiftprofError: not an evaluation, or a damaged one.
    """
    results = Results.load(folder)
    facts = run_facts(results.settings, results.samples, results.versions, str(folder))
    facts += how(results).items()
    facts += [(f"skipped of {n}", f"{len(each)} samples") for n, each in results.skipped.items()]
    section = Section(
        kind="evaluation",
        title=f"{results.settings.model.name}: methods at equal numbers of tokens ({folder.name})",
        findings=_findings(results),
        facts=facts,
        figures=[
            drawing(score_figure(results), "Score of each method, with its 95 % interval.", prefix)
        ]
        if results.groups["overall"]
        else [],
        tables=tables(results),
        command=results.command,
    )
    total = sum(results.samples.values())
    return Page(sections=[section], cards=_cards(folder, results, shown, album), total=total)


def _findings(results: Results) -> list[str]:
    """Per budget and group: whom the tests tell apart from the reference. Where there are many
    budgets, the average over all sets alone; the table has the rest."""
    found: dict[tuple[str, str], list[PairedTest]] = {}
    for test in results.tests:
        found.setdefault((test.budget, test.group), []).append(test)
    if len({budget for budget, _ in found}) > MANY:
        last = results.tests[-1].group
        found = {key: tests for key, tests in found.items() if key[1] == last}
    out = []
    for (budget, group), tests in found.items():
        reference = tests[0].reference
        sure = [t for t in tests if t.p_holm < SIGNIFICANT]
        named = (
            (f"worse than {reference}", [t.method for t in sure if t.difference.value < 0]),
            (f"better than {reference}", [t.method for t in sure if t.difference.value > 0]),
            ("not told apart from it", [t.method for t in tests if t not in sure]),
        )
        parts = [f"{word}: {', '.join(each)}" for word, each in named if each]
        for row in results.rows:
            if (row.budget, row.label) == (budget, reference) and (mean := row.averages[group]):
                kept = f"{reference} keeps {100 * mean.value:.1f} % of the unpruned score"
                parts.insert(0, kept)
        out.append(f"{budget}, {NAMES.get(group, group)}: {'; '.join(parts)}.")
    return out


def _cards(folder: Path, results: Results, shown: int, album: Album) -> list[Card]:
    """Samples from the parts; none of a data set whose parts are not there, or damaged."""
    settings, cards = results.settings, list[Card]()
    budgets = {row.budget for row in results.rows if row.budget}
    only = f" | {budgets.pop()}" if len(budgets) == 1 else ""  # is not said again and again
    for name, room in shares(shown, list(results.samples)).items():
        try:
            run = Run(settings=settings, draw=results.draw)
            answers, _ = read_answers(folder, run, name)
        except (SwiftprofError, ValueError):
            continue
        ids = [each.id for each in answers[VANILLA][:room]]
        given, split = settings.given.get(name, name), settings.splits[name]
        images = album.find(given, split, results.draw[name], ids)
        for first, image in zip(answers[VANILLA], images, strict=False):
            every = [a for each in answers.values() for a in each if a.place == first.place]
            every.sort(key=lambda a: a is not first)
            said = [
                Said(short(a.variant.removesuffix(only).replace(" | ", ", "), 200),
                     short(a.prediction), a.score)
                for a in every
            ]  # fmt: skip
            cards.append(Card.of(str(folder), name, vars(first), said, image))
    return cards
