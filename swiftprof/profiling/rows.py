"""What a profile measures, and what its parts hold: one row per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from swiftprof.costs.flops import DecoderShape
from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import SampleScores
from swiftprof.runs.folder import Parts, Run, Series
from swiftprof.runs.settings import RunSettings

Score = Literal["generation", "nll"]
"""Greedy answers and the data set's metric, or the likelihood of the reference answer."""


class Settings(RunSettings):
    """Settings of a profile. Two runs with equal settings give equal profiles.

    Attributes:
        decoder: sizes of the model's decoder.
        keep: V, the share of visual tokens that a selection holds.
        layers: candidates, whose selections are re-run.
    """

    decoder: DecoderShape
    keep: float = Field(gt=0, le=1)
    layers: tuple[int, ...] = Field(min_length=1, max_length=4096)
    score: Score = "generation"

    @model_validator(mode="after")
    def _layers_fit(self) -> Settings:
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError("layers must ascend")
        if self.layers[0] < 1 or self.layers[-1] > self.model.num_layers:
            raise ValueError(f"layers must lie in 1..{self.model.num_layers}")
        return self


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


def parts_of(folder: Path) -> Parts:
    """The parts of a profile's folder."""
    return Parts(folder, SCHEMA)


def series_of(run: Run[Settings], dataset: str) -> Series:
    """A data set's samples, in the order drawn."""
    return Series(dataset, run.settings.series_digest(dataset), tuple(run.draw[dataset]))


def read_rows(parts: Parts, series: Series, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a data set's samples, in the order drawn. Raises SwiftprofError."""
    return pa.concat_tables(part.rows for part in parts.read(series, columns))


def read_skipped(parts: Parts, series: Series) -> list[Skipped]:
    """The samples of a data set that could not be used."""
    return [each for part in parts.read(series, ["id"]) for each in part.stamp.skipped]


def read_scores(parts: Parts, series: Series, candidates: int) -> SampleScores:
    """Vanilla and re-run scores of a data set's samples, in the order drawn.

    Raises:
        SwiftprofError: parts are damaged, or hold scores that are none.
    """
    table = read_rows(parts, series, ["score", "rerun_score"])
    vanilla = table["score"].to_numpy().astype(np.float64)
    lists = table["rerun_score"].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    if not (lengths == candidates).all() or len(flat) != len(table) * candidates:
        raise SwiftprofError(
            f"{parts.path(series.name, 0)}: rerun_score does not hold {candidates} layers in every "
            "row; profile again with another `out`"
        )
    if not all(np.isfinite(x).all() and (np.abs(x) <= 1e6).all() for x in (vanilla, flat)):
        raise SwiftprofError(
            f"{parts.path(series.name, 0)}: a score is not a finite number of usual size; profile "
            "again with another `out`"
        )
    return SampleScores(vanilla, flat.reshape(len(table), candidates))
