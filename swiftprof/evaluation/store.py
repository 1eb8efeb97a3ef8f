"""An evaluation's parts: one variant's answers on samples of one data set, a row per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa

from swiftprof.data.asking import Skipped
from swiftprof.evaluation.answer import VANILLA, Answer, Failed
from swiftprof.evaluation.settings import EvalSettings, series_of
from swiftprof.runs.folder import Parts, Run

FOLDER = Path("evals")
"""Where evaluations are written, relative to the working directory."""

_TYPES = {
    "str": pa.string(),
    "int": pa.int32(),
    "float": pa.float64(),
    "tuple[str, ...]": pa.list_(pa.string()),
}
SCHEMA = pa.schema([(each.name, _TYPES[str(each.type)]) for each in fields(Answer)])
"""A column for every field of an answer."""

Answers = Mapping[str, Mapping[str, Sequence[Answer]]]
"""Variant -> data set -> answers in the order drawn; vanilla's are of all samples that are used."""


def parts_of(folder: Path) -> Parts:
    """The parts of an evaluation's folder."""
    return Parts(folder, SCHEMA)


def read_answers(
    folder: Path, run: Run[EvalSettings], dataset: str
) -> tuple[dict[str, list[Answer]], Failed]:
    """All variants' answers on one data set, and the samples that each could not answer.

    A sample that the unpruned model did not answer is left out for all. One that a method alone did
    not answer is left out of its own numbers, and of its comparisons.

    Raises:
        SwiftprofError: a part is missing or damaged.
    """
    found: dict[str, dict[int, Answer]] = {}
    skipped: dict[str, dict[int, Skipped]] = {}
    for variant in run.settings.variants:
        mine, lost = found.setdefault(variant.name, {}), skipped.setdefault(variant.name, {})
        for part in parts_of(folder).read(series_of(run, dataset, variant), SCHEMA.names):
            lost |= {each.index: each for each in part.stamp.skipped}
            for index, row in zip(part.stamp.indices, part.rows.to_pylist(), strict=True):
                # a variant may have been called otherwise when it was measured
                mine[index] = Answer(
                    **{**row, "answers": tuple(row["answers"]), "variant": variant.name}
                )
    order, known = run.draw[dataset], found[VANILLA]
    answers = {
        name: [mine[index] for index in order if index in mine and index in known]
        for name, mine in found.items()
    }
    return answers, {
        name: [
            lost[index] for index in order if index in lost and (index in known or name == VANILLA)
        ]
        for name, lost in skipped.items()
    }
