"""Parquet parts: one row per sample.

A part appears by rename when it is whole, so it is its own completion marker; a run that stops
keeps its parts, and the next run makes only the missing ones.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import SampleScores

PART_SAMPLES = 50
"""Samples in a part."""
SKIPPED = b"swiftprof.skipped"
"""Key of a part's metadata: the samples that could not be used, and why."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("dataset", pa.string()),
        ("kind", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("prediction", pa.string()),
        ("score", pa.float32()),
        ("n_visual", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("selection", pa.list_(pa.list_(pa.int16()))),
        ("rerun_prediction", pa.list_(pa.string())),
        ("rerun_score", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Row:
    """What was measured on one sample.

    Attributes:
        selection: per layer 1..L the selected visual tokens, numbered 0..n_visual - 1, ascending.
        rerun_prediction, rerun_score: per candidate layer of the settings.
        prompt_tokens: all tokens of the prompt, visual ones included.
    """

    id: str
    dataset: str
    kind: str
    question: str
    answers: list[str]
    prediction: str
    score: float
    n_visual: int
    prompt_tokens: int
    selection: list[list[int]]
    rerun_prediction: list[str]
    rerun_score: list[float]


def part_path(folder: Path, dataset: str, number: int) -> Path:
    return folder / "parts" / f"{dataset}-{number:05d}.parquet"


def part_count(samples: int) -> int:
    return -(-samples // PART_SAMPLES)


def write_part(path: Path, rows: list[Row], skipped: list[Skipped] | None = None) -> None:
    """Write a part whole or not at all."""
    table = pa.Table.from_pylist([vars(r) for r in rows], SCHEMA)
    if skipped:
        table = table.replace_schema_metadata({SKIPPED: json.dumps([vars(s) for s in skipped])})
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


def read_scores(paths: list[Path], candidates: int) -> SampleScores:
    """Vanilla and re-run scores of a data set's parts, in order."""
    vanilla: list[np.ndarray] = []
    reruns: list[np.ndarray] = []
    for path in paths:
        table = read_part(path, ["score", "rerun_score"])
        vanilla.append(table["score"].to_numpy().astype(np.float64))
        flat = table["rerun_score"].combine_chunks().flatten().to_numpy().astype(np.float64)
        if len(flat) != len(table) * candidates:
            raise SwiftprofError(
                f"{path}: column rerun_score does not hold {candidates} layers a row; "
                "delete this part and run swiftprof profile again"
            )
        reruns.append(flat.reshape(len(table), candidates))
    return SampleScores(vanilla=np.concatenate(vanilla), reruns=np.concatenate(reruns))


def read_skipped(path: Path) -> list[Skipped]:
    """The samples of a part that could not be used."""
    notes = (read_part(path, ["id"]).schema.metadata or {}).get(SKIPPED)
    return [Skipped(**each) for each in json.loads(notes)] if notes else []


def read_part(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException, KeyError) as error:
        first = str(error).splitlines()[0]
        raise SwiftprofError(
            f"{path}: not a readable part ({first}); delete it and run swiftprof profile again"
        ) from error
