"""What an analysis leaves on disk: one JSON document, and the same as Markdown."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from swiftprof.analysis import REGISTRY
from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object, write_text_atomic
from swiftprof.planning.checks import first_error

SCHEMA = "swiftprof.analysis/1"
MAX_BYTES = 1 << 26


class Table(BaseModel):
    """A table of texts; numbers are formatted where they are understood."""

    model_config = ConfigDict(frozen=True)

    title: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """The table in Markdown; all columns but the first are numbers, hence to the right."""
        head = "|" + "---|" + "---:|" * (len(self.columns) - 1)
        lines = [_row(self.columns), head, *(_row(row) for row in self.rows)]
        parts = ([f"**{self.title}**", ""] if self.title else []) + lines
        return "\n".join(parts + (["", self.note] if self.note else []))


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
    tables: tuple[Table, ...]


class Provenance(BaseModel):
    """Where the numbers are from, and how to make them again.

    Attributes:
        datasets: data set -> samples that were used.
        splits: data set -> split.
        skipped: data set -> samples that could not be used.
        seconds: wall time of this run; a resumed run counts its own part only.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    datasets: dict[str, int] = {}
    splits: dict[str, str] = {}
    skipped: dict[str, int] = {}
    seed: int | None = None
    profile: str | None = None
    profile_sha256: str | None = None
    plan: dict[str, Any] | None = None
    evaluation: str | None = None
    device: str | None = None
    dtype: str | None = None
    attention: str | None = None
    versions: dict[str, str] = {}
    command: str = ""
    created: str = ""
    seconds: float = 0.0


class Document(BaseModel):
    """`NAME.json` of an analysis. Unknown fields are kept: a later version may add some."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="allow")

    schema_: str = Field(SCHEMA, alias="schema")
    analysis: str
    title: str
    measured: str
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    provenance: Provenance
    data: dict[str, Any]

    @field_validator("schema_")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.split(".")[:2] != SCHEMA.split(".")[:2]:
            raise ValueError(f"{value[:60]!r} is not {SCHEMA!r}")
        return value

    @classmethod
    def of(cls, name: str, data: BaseModel, provenance: Provenance) -> Document:
        """Describe what was measured."""
        said = describe(name, data)
        return cls(
            schema=SCHEMA,
            analysis=name,
            title=REGISTRY[name].title,
            measured=said.measured,
            findings=said.findings,
            tables=said.tables,
            provenance=provenance,
            data=data.model_dump(mode="json"),
        )

    @classmethod
    def load(cls, path: Path) -> Document:
        """Read a document. Raises SwiftprofError, one line naming file and field."""
        try:
            return cls.model_validate(read_json_object(path, "analysis", MAX_BYTES))
        except ValidationError as error:
            raise SwiftprofError(f"{path}: {first_error(error)}; analyse again") from None

    def parsed(self) -> BaseModel | None:
        """What was measured, as the analysis' own `Data`; None for an analysis not known here.

        Raises:
            SwiftprofError: it does not fit.
        """
        if self.analysis not in REGISTRY:
            return None
        try:
            return data_class(self.analysis).model_validate(self.data)
        except ValidationError as error:
            raise SwiftprofError(
                f"analysis {self.analysis}: data: {first_error(error)}; analyse again"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def save(self, folder: Path) -> Path:
        """Write `NAME.json` and `NAME.md`; returns the path of the first."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)
        path = folder / f"{self.analysis}.json"
        write_text_atomic(path, text + "\n")
        write_text_atomic(folder / f"{self.analysis}.md", self.markdown())
        return path

    def markdown(self) -> str:
        """Findings and tables to read."""
        parts = [f"# {self.title}", "\n".join(f"- {each}" for each in self.findings)]
        parts += [f"![{self.title}]({self.analysis}.png)"]
        parts += [table.markdown() for table in self.tables]
        parts += [f"Measured: {self.measured}", _origin(self.provenance)]
        if self.provenance.command:
            parts += [f"    {self.provenance.command}"]
        return "\n\n".join(part for part in parts if part) + "\n"


def data_class(name: str) -> type[BaseModel]:
    """`Data` of an analysis."""
    found: type[BaseModel] = importlib.import_module(f"swiftprof.analysis.{name}").Data
    return found


def describe(name: str, data: BaseModel) -> Description:
    """An analysis in words."""
    said: Description = importlib.import_module(f"swiftprof.analysis.{name}").describe(data)
    return said


def samples_text(datasets: Mapping[str, int]) -> str:
    """`300 samples of each of a, b` or `300 of a, 20 of b`."""
    if not datasets:
        return ""
    counts = set(datasets.values())
    if len(counts) == 1:
        each = "" if len(datasets) == 1 else "each of "
        return f"{counts.pop()} samples of {each}{', '.join(datasets)}"
    return ", ".join(f"{count} of {name}" for name, count in datasets.items())


def _origin(provenance: Provenance) -> str:
    parts = [provenance.model]
    if provenance.datasets:
        parts.append(samples_text(provenance.datasets))
    if provenance.seed is not None:
        parts.append(f"seed {provenance.seed}")
    for name in ("profile", "evaluation"):
        value = getattr(provenance, name)
        if value:
            parts.append(f"{name} {value}")
    parts += [f"{name} {version}" for name, version in provenance.versions.items()]
    return "; ".join([*parts, provenance.created])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
