"""What an analysis leaves: data that describe and draw themselves, and the document they are in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from swiftprof.analysis import NAMES, analysis
from swiftprof.files import read_json_object, validated, write_text_atomic
from swiftprof.tables import Table, html_text, markdown_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "swiftprof.analysis/1"
MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class Description:
    """An analysis in words.

    Attributes:
        measured: what exactly was measured, on what.
        findings: what came out, good or bad, one sentence each.
        tables: the numbers.
    """

    measured: str
    findings: tuple[str, ...]
    tables: tuple[Table, ...] = ()


class Data(BaseModel):
    """What an analysis measured.

    Attributes:
        datasets: data set -> samples that were used.
        skipped: data set -> samples that could not be used.
    """

    model_config = ConfigDict(frozen=True)

    datasets: dict[str, int] = {}
    skipped: dict[str, int] = {}

    def describe(self) -> Description:
        """What came out, in words and tables."""
        raise NotImplementedError

    def draw(self) -> Figure:
        """The figure."""
        raise NotImplementedError

    def plot(self) -> Figure:
        """The figure, in the package's look."""
        from swiftprof.drawing import plain

        with plain():
            return self.draw()

    def _repr_html_(self) -> str:
        from swiftprof.drawing import picture_html

        said = self.describe()
        items = "".join(f"<li>{html_text(each)}</li>" for each in said.findings)
        tables = "".join(f"<p>{html_text(t.title)}</p>{t.html()}" for t in said.tables)
        return f"<ul>{items}</ul>{picture_html(self.plot(), said.findings[0])}{tables}"


class Document(BaseModel):
    """`NAME.json` of an analysis. Unknown fields are kept: a later version may add some.

    Attributes:
        origin: where the numbers are from, in words: model, seed, profile, versions …
        command: how to make them again; empty where no command did.
        data: everything that was measured, as the analysis' own `Data` has it.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="allow")

    schema_: str = Field(SCHEMA, alias="schema")
    analysis: str
    title: str
    measured: str
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    origin: dict[str, str]
    command: str = ""
    data: dict[str, Any]

    @field_validator("schema_")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.split(".")[:2] != SCHEMA.split(".")[:2]:
            raise ValueError(f"{value[:60]!r} is not {SCHEMA!r}")
        return value

    @classmethod
    def of(
        cls, name: str, title: str, data: Data, origin: Mapping[str, str], command: str = ""
    ) -> Document:
        """Describe what was measured."""
        return cls(
            schema=SCHEMA,
            analysis=name,
            title=title,
            **vars(data.describe()),
            origin={key: value for key, value in origin.items() if value},
            command=command,
            data=data.model_dump(mode="json"),
        )

    @classmethod
    def load(cls, path: Path) -> Document:
        """Read a document. Raises SwiftprofError, one line naming file and field."""
        return validated(cls, read_json_object(path, "analysis", MAX_BYTES), path, "analyse again")

    def parsed(self) -> Data | None:
        """What was measured, as the analysis' own `Data`; None for an analysis not known here.

        Raises:
            SwiftprofError: it does not fit.
        """
        if self.analysis not in NAMES:
            return None
        where = f"analysis {self.analysis}: data"
        return validated(analysis(self.analysis).data, self.data, where, "analyse again")

    def to_dict(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def save(self, folder: Path) -> Path:
        """Write `NAME.json`, `NAME.md` and `NAME.png`; returns the path of the first."""
        from swiftprof.drawing import save

        text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)
        path = folder / f"{self.analysis}.json"
        write_text_atomic(path, text + "\n")
        write_text_atomic(folder / f"{self.analysis}.md", self.markdown())
        data = self.parsed()
        if data is not None:
            save(data.plot(), folder / f"{self.analysis}.png")
        return path

    def markdown(self) -> str:
        """Findings and tables to read."""
        title = markdown_text(self.title)
        parts = [f"# {title}", "\n".join(f"- {markdown_text(each)}" for each in self.findings)]
        parts += [f"![{title}]({self.analysis}.png)"]
        parts += [table.markdown() for table in self.tables]
        parts += [f"Measured: {markdown_text(self.measured)}"]
        parts += ["; ".join(f"{n}: {markdown_text(text)}" for n, text in self.origin.items())]
        parts += [f"    {self.command}"] if self.command else []
        return "\n\n".join(part for part in parts if part) + "\n"
