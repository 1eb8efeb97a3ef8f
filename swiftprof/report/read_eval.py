"""An evaluation folder as a part of a page: the tables, the tests in words, samples."""

from __future__ import annotations

from pathlib import Path

from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.drawing import score_figure
from swiftprof.evaluation.results import Results
from swiftprof.evaluation.store import read_answers
from swiftprof.evaluation.table import findings, how, tables
from swiftprof.report.images import Album
from swiftprof.report.page import Card, Drawing, Page, Said, Section, run_facts, short
from swiftprof.runs.folder import Run
from swiftprof.tables import shares


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
        findings=findings(results),
        facts=facts,
        figures=[
            Drawing.of(
                score_figure(results), "Score of each method, with its 95 % interval.", prefix
            )
        ]
        if results.groups["overall"]
        else [],
        tables=tables(results),
        command=results.command,
    )
    total = sum(results.samples.values())
    return Page(sections=[section], cards=_cards(folder, results, shown, album), total=total)


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
