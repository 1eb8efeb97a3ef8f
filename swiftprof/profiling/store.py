"""A profile is a folder: ``run.json`` (settings and drawn samples, written first), parquet parts,
and ``profile.json`` (the curve, written last: a folder without it is unfinished)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from swiftprof.core.stages import BASE_LAYER
from swiftprof.costs.flops import DecoderShape
from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object, write_text_atomic
from swiftprof.planning.curve import Curve, SampleScores
from swiftprof.planning.plan_file import ModelInfo
from swiftprof.profiling.parts import part_count, part_path, read_measured
from swiftprof.profiling.settings import Settings

SCHEMA = "swiftprof.profile/1"
FOLDER = Path("profiles")
"""Where profiles are written and looked for, relative to the working directory."""
MAX_BYTES = 1 << 26


Count = Annotated[int, Field(ge=0, le=10**9)]


class Summary(BaseModel):
    """``profile.json``. Curves map layer → value; x_i is relative to the vanilla model.

    Attributes:
        samples: samples that were measured.
        protocol: how each data set's scores came about, in one line.
        skipped: samples that were drawn but could not be used, and why.
        dropped: layers that left the race, and on how many samples they were measured; their values
            are of these samples alone, and they are not planned.
    """

    model_config = ConfigDict(
        frozen=True, populate_by_name=True, extra="allow", allow_inf_nan=False
    )

    schema_: str = Field(SCHEMA, alias="schema")
    settings: Settings
    decoder: DecoderShape
    samples: dict[str, Count]
    text_tokens: float
    vanilla: dict[str, float]
    curve: dict[str, float]
    curve_per_dataset: dict[str, dict[str, float]]
    interval: dict[str, tuple[float, float]]
    created: str
    seconds: float
    versions: dict[str, str]
    protocol: dict[str, str] = Field(default_factory=dict)
    skipped: dict[str, list[Skipped]] = Field(default_factory=dict)
    dropped: dict[str, Count] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_settings(self) -> Summary:
        layers = {str(i) for i in self.settings.layers}
        names = set(self.settings.datasets)
        by_layer: dict[str, Mapping[str, object]] = {"curve": self.curve, "interval": self.interval}
        by_layer |= {f"curve_per_dataset.{n}": c for n, c in self.curve_per_dataset.items()}
        for field, values in by_layer.items():
            if set(values) != layers:
                raise ValueError(f"{field}: must have the layers of settings.layers")
        if not set(self.dropped) <= layers - {str(BASE_LAYER)}:
            raise ValueError(f"dropped: must be layers of settings.layers, but not {BASE_LAYER}")
        by_set: dict[str, Mapping[str, object]] = {
            "samples": self.samples,
            "vanilla": self.vanilla,
            "curve_per_dataset": self.curve_per_dataset,
        }
        for field, values in by_set.items():
            if set(values) != names:
                raise ValueError(f"{field}: must have the data sets of settings.datasets")
        return self

    def drawn(self, dataset: str) -> int:
        """Samples that were drawn from a data set, usable or not."""
        return self.samples[dataset] + len(self.skipped.get(dataset, ()))


class RunFile(BaseModel):
    """``run.json``: what this folder measures, and on which samples (indices of the split).

    Attributes:
        decoder, protocol: what the summary says of the model and the scores, so that parts can be
            brought together without the model; None and empty where an older version began.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: Settings
    draw: dict[str, list[Count]]
    decoder: DecoderShape | None = None
    protocol: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _draws_all(self) -> RunFile:
        if set(self.draw) != set(self.settings.datasets):
            raise ValueError("draw: must have the data sets of settings.datasets")
        return self


@dataclass(frozen=True)
class Profile:
    """A finished profile on disk; per-sample scores are read when they are asked for."""

    path: Path
    summary: Summary
    sha256: str

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Open a profile folder.

        Raises:
            SwiftprofError: no such folder, unfinished, or damaged.
        """
        folder = Path(path)
        file = folder / "profile.json"
        if not folder.is_dir():
            raise SwiftprofError(
                f"{folder}: no such profile folder; make one with swiftprof profile"
            )
        if not file.is_file():
            done = len(list((folder / "parts").glob("*.parquet")))
            if done or (folder / "run.json").is_file():
                raise SwiftprofError(
                    f"{folder}: this profile is not finished ({done} parts are there); "
                    "run the swiftprof profile command that began it again"
                )
            raise SwiftprofError(f"{file}: missing, so {folder} is not a profile folder")
        document = read_json_object(file, "profile", max_bytes=MAX_BYTES)
        if document.get("schema") != SCHEMA:
            raise SwiftprofError(
                f"{file}: schema is {document.get('schema')!r}, this version reads {SCHEMA!r}; "
                "make the profile again"
            )
        summary = _validated(Summary, document, file)
        profile = cls(folder, summary, hashlib.sha256(file.read_bytes()).hexdigest())
        for part in profile.parts():
            if not part.is_file():
                raise SwiftprofError(
                    f"{part}: missing, so the profile is incomplete; run the swiftprof profile "
                    "command that made it again"
                )
        return profile

    @property
    def model(self) -> ModelInfo:
        return self.summary.settings.model

    @property
    def decoder(self) -> DecoderShape:
        return self.summary.decoder

    @property
    def layers(self) -> tuple[int, ...]:
        """Candidate layers, 1-based: those that were measured on every sample."""
        dropped = self.summary.dropped
        return tuple(i for i in self.summary.settings.layers if str(i) not in dropped)

    @property
    def dropped(self) -> dict[str, int]:
        """Layers that left the race -> samples they were measured on."""
        return self.summary.dropped

    @property
    def keep(self) -> float:
        return self.summary.settings.keep

    @property
    def text_tokens(self) -> float:
        """Mean number of non-visual tokens in a prompt."""
        return self.summary.text_tokens

    @property
    def datasets(self) -> tuple[str, ...]:
        return self.summary.settings.datasets

    def parts(self, dataset: str | None = None) -> list[Path]:
        """Paths of all parts, or of one data set's."""
        names = self.datasets if dataset is None else (dataset,)
        return [
            part_path(self.path, name, i)
            for name in names
            for i in range(part_count(self.summary.drawn(name)))
        ]

    @cached_property
    def samples(self) -> dict[str, SampleScores]:
        """Per-sample scores of each data set: vanilla (S,) and re-runs (S, candidates)."""
        every = self.summary.settings.layers
        columns = [every.index(layer) for layer in self.layers]
        found = {}
        for name in self.datasets:
            vanilla, reruns = read_measured(self.parts(name), len(every))
            if np.isnan(reruns[:, columns]).any():
                raise SwiftprofError(
                    f"{self.path}: parts of {name} lack re-runs of layers that profile.json does "
                    "not call dropped; run the swiftprof profile command that made it again"
                )
            found[name] = SampleScores(vanilla, reruns[:, columns])
        return found

    @property
    def curve(self) -> Curve:
        values = np.array([self.summary.curve[str(i)] for i in self.layers])
        return Curve(num_layers=self.model.num_layers, layers=self.layers, x=values)


def find_newest(root: Path = FOLDER, model: str | None = None) -> Profile:
    """The most recently made finished profile below ``root``.

    Args:
        root: folder of profiles.
        model: only of the model with this name.

    Raises:
        SwiftprofError: there is none.
    """
    found: list[tuple[str, Path]] = []
    for file in root.glob("*/profile.json"):
        try:
            document = read_json_object(file, "profile", MAX_BYTES)
            name = document.get("settings", {}).get("model", {}).get("name")
            if model is None or name == model:
                found.append((str(document.get("created")), file))
        except (SwiftprofError, AttributeError):
            continue  # a damaged neighbour must not hide the good ones
    if not found:
        raise SwiftprofError(
            f"no finished profile under {root}/; make one with swiftprof profile, "
            "or name its folder: swiftprof plan FOLDER"
        )
    return Profile.load(max(found)[1].parent)


def read_run(folder: Path) -> RunFile:
    """What a folder measures.

    Raises:
        SwiftprofError: no such folder, or no run in it.
    """
    file = folder / "run.json"
    if not file.is_file():
        raise SwiftprofError(
            f"{folder}: holds no run (no run.json); give a folder that swiftprof profile wrote"
        )
    run: RunFile = _validated(RunFile, read_json_object(file, "run", MAX_BYTES), file)
    return run


def open_run(folder: Path, run: RunFile) -> None:
    """Begin a run in a folder, or go on with one of the same settings and samples.

    Raises:
        SwiftprofError: the folder holds a run with other settings or other samples.
    """
    file = folder / "run.json"
    if file.is_file():
        check_same(folder, run)
        return
    write_text_atomic(file, run.model_dump_json(indent=1) + "\n")


def check_same(folder: Path, run: RunFile) -> None:
    """Refuse a folder with a run of other settings or samples. Raises SwiftprofError."""
    there = read_run(folder)
    if there.settings != run.settings:
        raise SwiftprofError(
            f"{folder}: holds a profile with other settings "
            f"({run.settings.difference(there.settings)}); choose another `out`"
        )
    for name, indices in run.draw.items():
        if there.draw[name] != indices:
            raise SwiftprofError(
                f"{folder}: holds another draw of {name}, so the data set has changed since; "
                "choose another `out`"
            )


def write_summary(folder: Path, summary: Summary) -> None:
    write_text_atomic(
        folder / "profile.json", summary.model_dump_json(indent=1, by_alias=True) + "\n"
    )


def _validated(kind: type[Any], document: dict[str, Any], file: Path) -> Any:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise SwiftprofError(
            f"{file}: field {where}: {what}; make it again"
            if where
            else f"{file}: {what}; make it again"
        ) from error
