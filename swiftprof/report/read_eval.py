"""An evaluation folder as a section: the tables, the tests in words, samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swiftprof.analysis.document import samples_text
from swiftprof.analysis.pareto import Front
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA, Answer
from swiftprof.evaluation.results import Results
from swiftprof.evaluation.store import read_answers
from swiftprof.evaluation.table import NAMES, SIGNIFICANT, how, tables
from swiftprof.report.drawing import drawing
from swiftprof.report.images import Album
from swiftprof.report.page import Card, Drawing, Said, Section, short
from swiftprof.runs.folder import Run

MANY = 2
"""Budgets up to which the findings name every group of data sets."""


def read_eval(
    folder: Path, shown: int, album: Album, prefix: str = "eval-"
) -> tuple[list[Section], list[Card], int]:
    """A section, the first samples of each data set, and how many samples there are.

    Raises:
        SwiftprofError: not an evaluation, or a damaged one.
    """
    results = Results.load(folder)
    settings = results.settings
    facts = [
        ("model", f"{settings.model.name}, {settings.model.num_layers} layers"),
        ("samples", f"{samples_text(results.samples)}, seed {settings.seed}"),
        ("arithmetic", f"{settings.dtype}, {settings.attention}"),
        ("versions", ", ".join(f"{n} {v}" for n, v in results.versions.items())),
        ("folder", str(folder)),
        *how(results).items(),
    ]
    facts += [(f"skipped of {n}", f"{len(each)} samples") for n, each in results.skipped.items()]
    section = Section(
        kind="evaluation",
        title=f"{settings.model.name}: methods at equal numbers of visual tokens",
        findings=_findings(results),
        facts=[(name, value) for name, value in facts if value.strip(", ")],
        figures=_figures(results, prefix),
        tables=tables(results),
        commands=[results.command] if results.command else [],
    )
    return [section], _cards(folder, results, shown, album), sum(results.samples.values())


def _figures(results: Results, prefix: str) -> list[Drawing]:
    try:
        data = Front.of(results)
    except SwiftprofError:
        return []
    return [drawing(data, "Score of each method, with its 95 % interval.", prefix)]


def _findings(results: Results) -> list[str]:
    """Per budget and group: whom the tests tell apart from the reference. Where there are many
    budgets, the average over all sets alone; the table has the rest."""
    out = []
    budgets = list(dict.fromkeys(t.budget for t in results.tests))
    groups = list(dict.fromkeys(t.group for t in results.tests))
    for budget in budgets:
        for group in groups if len(budgets) <= MANY else groups[-1:]:
            here = [t for t in results.tests if (t.budget, t.group) == (budget, group)]
            if not here:
                continue
            reference = here[0].reference
            sure = [t for t in here if t.p_holm < SIGNIFICANT]
            named = (
                (f"worse than {reference}", [t.method for t in sure if t.difference.value < 0]),
                (f"better than {reference}", [t.method for t in sure if t.difference.value > 0]),
                ("not told apart from it", [t.method for t in here if t not in sure]),
            )
            parts = [f"{word}: {', '.join(each)}" for word, each in named if each]
            keeps = _keeps(results, budget, reference, group)
            out.append(f"{budget}, {NAMES.get(group, group)}: {keeps}{'; '.join(parts)}.")
    return out


def _keeps(results: Results, budget: str, method: str, group: str) -> str:
    """How much of the unpruned score a method keeps, as the start of a sentence."""
    for row in results.rows:
        found = row.averages.get(group)
        if (row.budget, row.label) == (budget, method) and found:
            return f"{method} keeps {100 * found.value:.1f} % of the unpruned score; "
    return ""


def _cards(folder: Path, results: Results, shown: int, album: Album) -> list[Card]:
    """Samples from the parts; none of a data set whose parts are not there, or damaged."""
    settings, names = results.settings, list(results.samples)
    budgets = {row.budget for row in results.rows if row.budget}
    only = f" | {budgets.pop()}" if len(budgets) == 1 else None
    cards: list[Card] = []
    for number, name in enumerate(names):
        room = shown // len(names) + (number < shown % len(names))
        try:
            run = Run(settings=settings, draw=results.draw)
            answers, _ = read_answers(folder, run, name, settings.variants)
        except (SwiftprofError, ValueError):
            continue
        firsts = answers[VANILLA][:room]
        images = album.find(
            settings.given.get(name, name),
            settings.splits[name],
            results.draw[name],
            [each.id for each in firsts],
        )
        for first, image in zip(firsts, images, strict=True):
            cards.append(
                Card(
                    run=str(folder),
                    dataset=name,
                    id=short(first.id, 200),
                    kind=short(first.kind, 100),
                    question=short(first.question),
                    answers=[short(a, 200) for a in dict.fromkeys(first.answers)][:10],
                    said=_said(
                        [a for each in answers.values() for a in each if a.place == first.place],
                        only,
                    ),
                    image=image,
                )
            )
    return cards


def _said(answers: Sequence[Answer], only: str | None) -> list[Said]:
    """What every variant said, vanilla first; a budget that all have is not said again."""
    out = []
    for each in sorted(answers, key=lambda a: a.variant != VANILLA):
        name = each.variant
        name = name.removesuffix(only) if only is not None else name.replace(" | ", ", ")
        out.append(Said(short(name, 200), short(each.prediction), each.score))
    return out
