"""Parquet parts: one row per sample.

A part appears by rename when it is whole, so it is its own completion marker; a run that stops
keeps its parts, and the next run makes only the missing ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.files import write_atomic
from swiftprof.planning.curve import SampleScores

Floats = NDArray[np.float64]

PART_SAMPLES = 50
"""Samples in a part."""
MAX_BYTES = 1 << 28
"""Larger parts, on disk or unpacked, are refused; a part of a large model has a few MiB."""
SKIPPED = b"swiftprof.skipped"
"""Key of a part's metadata: the samples that could not be used, and why."""

_SKIPPED_LIST = TypeAdapter(list[Skipped])

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
        rerun_prediction, rerun_score: per candidate layer of the settings; None for a layer that
            had left the race.
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
    rerun_prediction: Sequence[str | None]
    rerun_score: Sequence[float | None]


def part_path(folder: Path, dataset: str, number: int) -> Path:
    return folder / "parts" / f"{dataset}-{number:05d}.parquet"


def part_count(samples: int) -> int:
    return -(-samples // PART_SAMPLES)


def chunks(indices: Sequence[int]) -> list[tuple[int, ...]]:
    """Drawn samples by part."""
    return [
        tuple(indices[start : start + PART_SAMPLES])
        for start in range(0, len(indices), PART_SAMPLES)
    ]


def write_part(path: Path, rows: list[Row], skipped: list[Skipped] | None = None) -> None:
    """Write a part whole or not at all."""
    table = pa.Table.from_pylist([vars(r) for r in rows], SCHEMA)
    if skipped:
        table = table.replace_schema_metadata({SKIPPED: json.dumps([vars(s) for s in skipped])})
    try:
        write_atomic(
            path,
            lambda temporary: pq.write_table(
                table, temporary, compression="zstd", write_page_checksum=True
            ),
        )
        for stale in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed
            stale.unlink(missing_ok=True)
    except OSError as error:
        raise SwiftprofError(
            f"{path}: cannot write this part: {error.strerror or error}; finished parts are kept, "
            "make room and run the same command again"
        ) from error


def is_complete(path: Path, samples: int) -> bool:
    """Whether a part is there, readable, and holds this many samples, skipped ones included."""
    if not path.is_file():
        return False
    try:
        with _opened(path) as file:
            return file.metadata.num_rows + len(_skipped(path, file)) == samples
    except SwiftprofError:
        return False


def read_scores(paths: list[Path], candidates: int) -> SampleScores:
    """Vanilla and re-run scores of a data set's parts, in order; every layer has all samples."""
    vanilla, reruns = read_measured(paths, candidates)
    return SampleScores(vanilla, reruns)


def read_measured(paths: list[Path], candidates: int) -> tuple[Floats, Floats]:
    """Scores of a data set's parts, in order: vanilla (S,), and re-runs (S, candidates).

    NaN stands where a layer was not re-run because it had left the race.
    """
    vanilla: list[Floats] = []
    reruns: list[Floats] = []
    for path in paths:
        table = read_part(path, ["score", "rerun_score"])
        score = table["score"].to_numpy().astype(np.float64)
        lists = table["rerun_score"].combine_chunks()
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        values = lists.flatten()
        flat = values.to_numpy(zero_copy_only=False).astype(np.float64)  # null becomes NaN
        given = values.is_valid().to_numpy(zero_copy_only=False)
        if not (lengths == candidates).all() or len(flat) != len(table) * candidates:
            raise _damaged(path, f"column rerun_score does not hold {candidates} layers a row")
        if not (np.isfinite(score).all() and np.isfinite(flat[given]).all()):
            raise _damaged(path, "a score is not a finite number")
        vanilla.append(score)
        reruns.append(flat.reshape(len(table), candidates))
    return np.concatenate(vanilla), np.concatenate(reruns)


def read_skipped(path: Path) -> list[Skipped]:
    """The samples of a part that could not be used."""
    with _opened(path) as file:
        return _skipped(path, file)


def read_part(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Columns of a part that may come from anyone.

    Raises:
        SwiftprofError: not a part, damaged, or larger than a part can be.
    """
    with _opened(path) as file:
        try:
            return file.read(columns)
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise _damaged(path, str(error)) from error


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A part whose sizes and types are those of a part; nothing of its data is read yet."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _damaged(path, f"larger than {MAX_BYTES >> 20} MiB")
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    with file:
        metadata = file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        if not 0 <= metadata.num_rows <= PART_SAMPLES or not 0 <= size <= MAX_BYTES:
            raise _damaged(path, f"{metadata.num_rows} rows of {size >> 20} MiB are no part")
        schema = file.schema_arrow
        for field in SCHEMA:
            if field.name not in schema.names or schema.field(field.name).type != field.type:
                raise _damaged(path, f"column {field.name} is not there as {field.type}")
        yield file


def _skipped(path: Path, file: pq.ParquetFile) -> list[Skipped]:
    notes = (file.schema_arrow.metadata or {}).get(SKIPPED)
    if not notes:
        return []
    try:
        return _SKIPPED_LIST.validate_json(notes)
    except ValidationError as error:
        raise _damaged(path, "its list of skipped samples is not one") from error


def _damaged(path: Path, why: str) -> SwiftprofError:
    first = (why.splitlines() or ["damaged"])[0]
    return SwiftprofError(
        f"{path}: not a readable part ({first}); delete it and run swiftprof profile again"
    )
