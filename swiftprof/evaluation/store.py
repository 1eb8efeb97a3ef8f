"""An evaluation's parts: one variant's answers on samples of one data set, a row per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from swiftprof.data.asking import Skipped
from swiftprof.evaluation.answer import Answer
from swiftprof.evaluation.settings import EvalSettings, VariantSettings, series_of
from swiftprof.runs.folder import Parts, Run

FOLDER = Path("evals")
"""Where evaluations are written, relative to the working directory."""

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

Answers = Mapping[str, Mapping[str, Sequence[Answer]]]
"""Variant -> data set -> answers in the order drawn, all of the same samples."""


def parts_of(folder: Path) -> Parts:
    """The parts of an evaluation's folder."""
    return Parts(folder, SCHEMA)


def row_of(answer: Answer) -> dict[str, Any]:
    """An answer as a row."""
    return {**vars(answer), "answers": list(answer.answers)}


def read_answers(
    folder: Path, run: Run[EvalSettings], dataset: str, variants: Sequence[VariantSettings]
) -> tuple[dict[str, list[Answer]], list[Skipped]]:
    """All variants' answers on one data set; a sample that failed with one is left out for all.

    Raises:
        SwiftprofError: a part is missing or damaged.
    """
    found: dict[str, dict[int, Answer]] = {}
    skipped: dict[int, Skipped] = {}
    for variant in variants:
        mine = found.setdefault(variant.name, {})
        for part in parts_of(folder).read(series_of(run, dataset, variant), SCHEMA.names):
            skipped |= {each.index: each for each in part.stamp.skipped}
            for index, row in zip(part.stamp.indices, part.rows.to_pylist(), strict=True):
                # a variant may have been called otherwise when it was measured
                mine[index] = Answer(
                    **{**row, "answers": tuple(row["answers"]), "variant": variant.name}
                )
    order = run.draw[dataset]
    answers = {
        name: [mine[index] for index in order if index not in skipped]
        for name, mine in found.items()
    }
    return answers, [skipped[index] for index in order if index in skipped]
