"""A profile is a folder: ``run.json`` (settings and drawn samples, written first), parquet parts,
and ``profile.json`` (the curve, written last: a folder without it is unfinished)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from swiftprof.costs.flops import DecoderShape
from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object, validated, write_text_atomic
from swiftprof.models.registry import BUNDLED_MODEL, ModelInfo
from swiftprof.planning.curve import Curve, SampleScores, combine, curve_intervals
from swiftprof.profiling.rows import (
    Settings,
    parts_of,
    read_rows,
    read_scores,
    read_skipped,
    series_of,
)
from swiftprof.runs.folder import MAX_BYTES, Index, Run, chunks
from swiftprof.runs.settings import versions
from swiftprof.tiny import bundled_profiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMA = "swiftprof.profile/1"
FOLDER = Path("profiles")
"""Where profiles are written and looked for, relative to the working directory."""

Count = Annotated[int, Field(ge=0, le=10**9)]
Value = Annotated[float, Field(ge=-1e9, le=1e9)]


class Summary(BaseModel):
    """``profile.json``. Curves map layer → value; x_i is relative to the vanilla model.

    Attributes:
        draw: the samples that the profile is of, as indices of their splits.
        samples: how many of them were measured.
        skipped: samples that were drawn but could not be used, and why.
        left_out: data sets that were asked for but say nothing, and why.
    """

    model_config = ConfigDict(
        frozen=True, populate_by_name=True, extra="allow", allow_inf_nan=False
    )

    schema_: str = Field(SCHEMA, alias="schema")
    settings: Settings
    draw: dict[str, list[Index]]
    samples: dict[str, Count]
    text_tokens: float
    vanilla: dict[str, Value]
    curve: dict[str, Value]
    curve_per_dataset: dict[str, dict[str, Value]]
    interval: dict[str, tuple[Value, Value]]
    created: str
    seconds: float
    versions: dict[str, str]
    skipped: dict[str, list[Skipped]] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_settings(self) -> Summary:
        layers, names = {str(i) for i in self.settings.layers}, set(self.settings.datasets)
        for field in ("draw", "samples", "vanilla", "curve_per_dataset"):
            if set(getattr(self, field)) != names:
                raise ValueError(f"{field}: must have the data sets of settings.datasets")
        for name, curve in self.curve_per_dataset.items():
            if set(curve) != layers:
                raise ValueError(f"curve_per_dataset.{name}: must have the layers of settings")
        if not set(self.curve) == set(self.interval) == layers:
            raise ValueError("curve, interval: must have the layers of settings.layers")
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
                f"{file}: schema is {str(document.get('schema'))[:80]!r}, this version reads "
                f"{SCHEMA!r}; make the profile again"
            )
        summary = validated(Summary, document, file, "make it again")
        profile = cls(folder, summary, hashlib.sha256(file.read_bytes()).hexdigest())
        for part in profile.parts():
            if not part.is_file():
                raise SwiftprofError(
                    f"{part}: missing, so the profile is incomplete; run the swiftprof profile "
                    "command that made it again"
                )
        return profile

    @property
    def run(self) -> Run[Settings]:
        """What it measures."""
        return Run[Settings](settings=self.summary.settings, draw=self.summary.draw)

    @property
    def model(self) -> ModelInfo:
        return self.summary.settings.model

    @property
    def decoder(self) -> DecoderShape:
        return self.summary.settings.decoder

    @property
    def layers(self) -> tuple[int, ...]:
        """Candidate layers, 1-based."""
        return self.summary.settings.layers

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

    @property
    def given(self) -> dict[str, str]:
        """Own data sets -> what names them again."""
        return self.summary.settings.given

    def parts(self, dataset: str | None = None) -> list[Path]:
        """Paths of all parts, or of one data set's."""
        parts, draw = parts_of(self.path), self.summary.draw
        names = self.datasets if dataset is None else (dataset,)
        return [parts.path(n, i) for n in names for i in range(len(chunks(draw[n])))]

    def rows(self, dataset: str, columns: Sequence[str] | None = None) -> pa.Table:
        """What was measured on a data set's samples, in the order drawn (see `rows.SCHEMA`)."""
        return read_rows(parts_of(self.path), series_of(self.run, dataset), columns)

    @cached_property
    def samples(self) -> dict[str, SampleScores]:
        """Per-sample scores of each data set: vanilla (S,) and re-runs (S, candidates)."""
        parts, run, size = parts_of(self.path), self.run, len(self.layers)
        return {name: read_scores(parts, series_of(run, name), size) for name in self.datasets}

    @property
    def curve(self) -> Curve:
        values = np.array([self.summary.curve[str(i)] for i in self.layers])
        return Curve(num_layers=self.model.num_layers, layers=self.layers, x=values)

    @property
    def curves(self) -> dict[str, Curve]:
        """Data set -> its own curve."""
        depth, layers = self.model.num_layers, self.layers
        samples = self.samples
        return {n: Curve(depth, layers, combine({n: each})) for n, each in samples.items()}

    @property
    def dataframe(self) -> pd.DataFrame:
        """The curve: a row per layer, x with its 95 % interval, and x of each data set."""
        import pandas as pd

        low, high = curve_intervals(self.samples)
        columns = {"layer": self.layers, "x": self.curve.x, "low": low, "high": high}
        return pd.DataFrame(columns | {name: each.x for name, each in self.curves.items()})

    def plot(self) -> Figure:
        """The capability curve, with its interval and the curves of the data sets."""
        from swiftprof.planning.drawing import curve_figure

        low, high = curve_intervals(self.samples)
        ends = dict(zip(self.layers, zip(low, high, strict=True), strict=True))
        return curve_figure(self.curve, (), self.curves, ends, self._title())

    def _title(self) -> str:
        samples = sum(self.summary.samples.values())
        return f"{self.model.name}: top {100 * self.keep:.3g} % of each layer, {samples} samples"

    def _repr_html_(self) -> str:
        from swiftprof.drawing import picture_html

        return picture_html(self.plot(), self._title())


def find_newest(root: Path = FOLDER, model: str | None = None) -> Profile | None:
    """The most recently made finished profile below ``root``, else the one that is bundled.

    Args:
        root: folder of profiles.
        model: only of the model with this name.

    Returns:
        None where there is none of the model.
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
    folder = max(found)[1].parent if found else bundled_profiles().get(model or BUNDLED_MODEL)
    return None if folder is None else Profile.load(folder)


def write_profile(folder: Path, run: Run[Settings], seconds: float) -> None:
    """Write ``profile.json`` from a folder whose parts are all there.

    A data set of which no sample can be used, or on which the unpruned model scores 0, says nothing
    of any layer and is left out.

    Raises:
        SwiftprofError: no data set is left.
    """
    parts, every = parts_of(folder), {n: series_of(run, n) for n in run.settings.datasets}
    skipped = {name: read_skipped(parts, series) for name, series in every.items()}
    left_out = {
        name: f"none of {len(run.draw[name])} samples can be used; the first: {each[0].reason}"
        for name, each in skipped.items()
        if len(each) == len(run.draw[name])
    }
    size = len(run.settings.layers)
    scores = {n: read_scores(parts, s, size) for n, s in every.items() if n not in left_out}
    for name in [n for n, each in scores.items() if not each.vanilla.mean() > 0]:
        del scores[name]
        left_out[name] = "the unpruned model scores 0 on it, so no layer can be compared with it"
    if not scores:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise SwiftprofError(
            f"no data set says anything of the layers ({why}): check the model and the data sets"
        )
    text, rows = 0, 0
    for name in scores:
        table = read_rows(parts, every[name], ["prompt_tokens", "n_visual"])
        text += sum(table["prompt_tokens"].to_pylist()) - sum(table["n_visual"].to_pylist())
        rows += len(table)
    summary = _summary(run, scores, skipped, left_out, text / rows, seconds)
    text_of = summary.model_dump_json(indent=1, by_alias=True) + "\n"
    write_text_atomic(folder / "profile.json", text_of)


def _summary(
    run: Run[Settings],
    scores: Mapping[str, SampleScores],
    skipped: Mapping[str, list[Skipped]],
    left_out: dict[str, str],
    text_tokens: float,
    seconds: float,
) -> Summary:
    settings = run.settings.only(scores)

    def by_layer(values: Iterable[float]) -> dict[str, float]:
        return {str(i): round(float(v), 6) for i, v in zip(settings.layers, values, strict=True)}

    low, high = (by_layer(ends) for ends in curve_intervals(scores, seed=settings.seed))
    return Summary(
        schema=SCHEMA,
        settings=settings,
        draw={name: run.draw[name] for name in scores},
        samples={name: len(each.vanilla) for name, each in scores.items()},
        text_tokens=text_tokens,
        vanilla={name: float(each.vanilla.mean()) for name, each in scores.items()},
        curve=by_layer(combine(scores)),
        curve_per_dataset={n: by_layer(combine({n: each})) for n, each in scores.items()},
        interval={layer: (low[layer], high[layer]) for layer in low},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        versions=versions(),
        skipped={name: each for name, each in skipped.items() if each},
        left_out=left_out,
    )
