"""An evaluation is a folder: ``run.json`` (settings and drawn samples, written first), parquet
parts with one row per sample and variant, then ``results.json`` and ``results.md``.

A part appears by rename when it is whole, so it is its own completion marker; a run that stops
keeps its parts, and the same command makes only the missing ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import Answer
from swiftprof.evaluation.settings import EvalSettings
from swiftprof.files import read_json_object, write_text_atomic
from swiftprof.planning.checks import first_error

FOLDER = Path("evals")
"""Where evaluations are written, relative to the working directory."""
PART_SAMPLES = 50
"""Samples in a part, each with the answers of all variants."""
MAX_BYTES = 1 << 26
_SKIPPED = b"skipped"

SCHEMA = pa.schema(
    [
        ("variant", pa.string()),
        ("place", pa.int32()),
        ("id", pa.string()),
        ("kind", pa.string()),
        ("group", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("prediction", pa.string()),
        ("score", pa.float64()),
        ("n_visual", pa.int32()),
        ("text_tokens", pa.int32()),
        ("retained", pa.float64()),
        ("tflops", pa.float64()),
        ("seconds", pa.float64()),
    ]
)


class RunFile(BaseModel):
    """``run.json``: what this folder measures, and on which samples (indices of the split)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: EvalSettings
    draw: dict[str, list[int]]


def open_run(folder: Path, run: RunFile) -> None:
    """Begin a run in a folder, or go on with one of the same settings.

    Raises:
        SwiftprofError: the folder holds a run with other settings; the message names them.
    """
    file = folder / "run.json"
    if not file.is_file():
        write_text_atomic(file, run.model_dump_json(indent=1) + "\n")
        return
    try:
        there = RunFile.model_validate(read_json_object(file, "run", MAX_BYTES))
    except ValidationError as error:
        raise SwiftprofError(
            f"{file}: {first_error(error)}; it is no evaluation, choose another `out`"
        ) from None
    if there.settings != run.settings:
        raise SwiftprofError(
            f"{folder}: holds an evaluation with other settings "
            f"({run.settings.difference(there.settings)}); choose another `out`"
        )
    if there.draw != run.draw:
        raise SwiftprofError(
            f"{folder}: holds an evaluation of other samples, though the settings are the same: "
            "a data set has changed; choose another `out`"
        )


def part_path(folder: Path, dataset: str, number: int) -> Path:
    """Where a part is."""
    return folder / "parts" / f"{dataset}-{number:05d}.parquet"


def write_part(path: Path, answers: Sequence[Answer], skipped: Sequence[Skipped]) -> None:
    """Write a part whole or not at all. Raises SwiftprofError where that fails."""
    rows = [{**vars(a), "answers": list(a.answers)} for a in answers]
    table = pa.Table.from_pylist(rows, SCHEMA)
    if skipped:
        notes = json.dumps([vars(s) for s in skipped])
        table = table.replace_schema_metadata({_SKIPPED: notes.encode()})
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, partial, compression="zstd")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SwiftprofError(
            f"{path}: cannot write this part: {error.strerror or error}; finished parts are kept, "
            "make room and run the same command again"
        ) from error


def read_part(path: Path) -> tuple[list[Answer], list[Skipped]]:
    """Answers of a part, and the samples that could not be used. Raises SwiftprofError."""
    names = [field.name for field in fields(Answer)]
    try:
        table = pq.read_table(path, columns=names, partitioning=None)
    except (OSError, pa.ArrowException, KeyError) as error:
        first = str(error).splitlines()[0]
        raise SwiftprofError(
            f"{path}: not a readable part ({first}); delete it and run swiftprof eval again"
        ) from error
    notes = (table.schema.metadata or {}).get(_SKIPPED)
    answers = [Answer(**{**row, "answers": tuple(row["answers"])}) for row in table.to_pylist()]
    return answers, [Skipped(**each) for each in json.loads(notes)] if notes else []
