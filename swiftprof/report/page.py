"""What a report shows, apart from how: sections, figures, tables, and samples to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from swiftprof.analysis.traced import Picture
from swiftprof.tables import Table

LONGEST = 2000
"""Characters of a text from a file that are shown."""


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG made here, never one that was found in a folder."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        kind: a word above the title: profile, evaluation, analysis.
        facts: (name, value) of how it was made.
        findings: sentences.
        pictures: samples with the patches that are left.
        commands: what to type to make it again.
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
    pictures: Sequence[Picture] = ()
    commands: Sequence[str] = ()
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

    @property
    def disagree(self) -> bool:
        """Not all answers have the same score."""
        return len({each.score for each in self.said}) > 1


@dataclass
class Page:
    """A whole report.

    Attributes:
        left_out: what was found but is not shown, and why.
        total: samples that there are, of which `cards` are shown.
        command: what to type to make the page again.
    """

    title: str
    sections: list[Section] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    total: int = 0
    command: str = ""


def short(text: object, most: int = LONGEST) -> str:
    """A text from a file, no longer than a page can bear."""
    found = str(text)
    return found if len(found) <= most else found[: most - 1] + "…"
