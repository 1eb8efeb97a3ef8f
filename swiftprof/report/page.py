"""What a report shows, apart from how: sections, figures, tables, and samples to look at."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swiftprof.drawing import ACCENT, FAINT, GRID, INK, MAIN, PAPER, picture_html, svg_text
from swiftprof.runs.settings import RunSettings
from swiftprof.tables import Table, samples_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 2000
"""Characters of a text from a file that are shown."""


COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--line)",
    PAPER: "var(--card)",
    MAIN.lower(): "var(--main)",
    ACCENT.lower(): "var(--warm)",
}
"""Colours of figures -> those of the page, which knows light and dark."""


@dataclass(frozen=True)
class Drawing:
    """A figure as an element of the page, made here, never one that was found in a folder."""

    html: str
    caption: str

    @classmethod
    def of(cls, figure: Figure, caption: str, prefix: str) -> Drawing:
        """A figure made in this process; `prefix` makes its ids unique on the page."""
        photographs = sum(len(axes.images) for axes in figure.axes) > 1
        if photographs:
            return cls(picture_html(figure, caption), caption)
        return cls(svg_text(figure, prefix, COLOURS), caption)


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        kind: a word above the title: profile, evaluation, analysis.
        facts: (name, value) of how it was made; what is empty is left out.
        findings: sentences.
        command: what to type to make it again.
        headline: the section in one sentence, for the top of the page.
        download: (file name, `data:` URL) of a file that belongs to it.
    """

    kind: str
    title: str
    findings: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    measured: str = ""
    figures: Sequence[Drawing] = ()
    tables: Sequence[Table] = ()
    command: str = ""
    headline: str = ""
    download: tuple[str, str] | None = None


@dataclass(frozen=True)
class Said:
    """One method's answer to a sample."""

    method: str
    text: str
    score: float

    @property
    def right(self) -> bool:
        """At least half of the score."""
        return self.score >= 0.5


@dataclass(frozen=True)
class Card:
    """One sample to look at.

    Attributes:
        run: which of several runs it is from.
        image: a `data:` URL, or None where the image is not at hand.
    """

    run: str
    dataset: str
    id: str
    kind: str
    question: str
    answers: Sequence[str]
    said: Sequence[Said]
    image: str | None = None

    @classmethod
    def of(
        cls, run: str, dataset: str, row: Mapping[str, Any], said: Sequence[Said], image: str | None
    ) -> Card:
        """From a stored row, whose texts may come from anyone."""
        texts = {name: short(row[name], 200) for name in ("id", "kind")}
        answers = [short(each, 200) for each in dict.fromkeys(row["answers"])][:10]
        question = short(row["question"])
        return cls(run, dataset, **texts, question=question, answers=answers, said=said,
                   image=image)  # fmt: skip

    @property
    def disagree(self) -> bool:
        """Not all answers have the same score."""
        return len({each.score for each in self.said}) > 1


@dataclass
class Page:
    """A whole report, or a run's part of one.

    Attributes:
        left_out: what was found but is not shown, and why.
        total: samples that there are, of which `cards` are shown.
        command: what to type to make the page again.
    """

    title: str = ""
    sections: list[Section] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    total: int = 0
    command: str = ""


def run_facts(
    settings: RunSettings, samples: Mapping[str, int], versions: Mapping[str, str], where: str
) -> list[tuple[str, str]]:
    """What is said of every run."""
    return [
        ("model", f"{settings.model.name}, {settings.model.num_layers} layers"),
        ("samples", f"{samples_text(samples)}, seed {settings.seed}"),
        ("arithmetic", f"{settings.dtype}, {settings.attention}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("folder", where),
    ]


def typed(*words: object) -> str:
    """A command of this program."""
    return shlex.join(["swiftprof", *map(str, words)])


def short(text: object, most: int = LONGEST) -> str:
    """A text from a file, no longer than a page can bear."""
    found = str(text)
    return found if len(found) <= most else found[: most - 1] + "…"
