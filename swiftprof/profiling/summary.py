"""From a folder's parts to ``profile.json``: the curve, its intervals, what was skipped."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftprof import __version__
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import SampleScores, combine
from swiftprof.planning.stability import curve_intervals
from swiftprof.profiling.job import Unit, units
from swiftprof.profiling.parts import is_complete, part_path, read_measured, read_part, read_skipped
from swiftprof.profiling.settings import Settings
from swiftprof.profiling.store import SCHEMA, RunFile, Summary, write_summary

Floats = NDArray[np.float64]


def missing_units(folder: Path, run: RunFile) -> list[Unit]:
    """Units whose part is not there, or damaged, in order."""
    return [
        unit
        for unit in units(run.draw, run.settings.datasets)
        if not is_complete(part_path(folder, unit.dataset, unit.number), len(unit.indices))
    ]


def write_profile(folder: Path, run: RunFile, seconds: float) -> None:
    """Write ``profile.json`` from a folder whose parts are all there.

    Raises:
        SwiftprofError: no sample of a set could be used, or the unpruned model scores 0 on it.
    """
    write_summary(folder, summarise(folder, run, seconds))


def summarise(folder: Path, run: RunFile, seconds: float) -> Summary:
    """The summary of a folder whose parts are all there (see `write_profile`)."""
    import torch
    import transformers

    settings, names = run.settings, run.settings.datasets
    if run.decoder is None:
        raise SwiftprofError(
            f"{folder / 'run.json'}: lacks the model's sizes, an older swiftprof began this run; "
            "run its swiftprof profile command again"
        )
    parts = {
        name: [part_path(folder, u.dataset, u.number) for u in units(run.draw, [name])]
        for name in names
    }
    skipped = {n: [s for p in parts[n] for s in read_skipped(p)] for n in names}
    for name in names:
        if len(skipped[name]) == len(run.draw[name]):
            raise SwiftprofError(
                f"data set {name}: none of {len(run.draw[name])} samples can be used; "
                f"the first: {skipped[name][0].reason}"
            )
    measured = {n: read_measured(parts[n], len(settings.layers)) for n in names}
    dead = [n for n in names if not measured[n][0].mean() > 0]
    if dead:
        raise SwiftprofError(
            f"the vanilla model scores 0 on {', '.join(dead)}, so no layer can be "
            "compared with it: "
            "check the model and the data set, or leave it out"
        )
    text, rows = 0, 0
    for part in (p for paths in parts.values() for p in paths):
        table = read_part(part, ["prompt_tokens", "n_visual"])
        text += sum(table["prompt_tokens"].to_pylist()) - sum(table["n_visual"].to_pylist())
        rows += len(table)

    def by_layer(values: Iterable[float]) -> dict[str, float]:
        return {str(i): round(float(v), 6) for i, v in zip(settings.layers, values, strict=True)}

    x, low, high, own, dropped = _curves(measured, settings)
    return Summary(
        schema=SCHEMA,
        settings=settings,
        decoder=run.decoder,
        samples={n: len(measured[n][0]) for n in names},
        text_tokens=text / rows,
        vanilla={n: float(measured[n][0].mean()) for n in names},
        curve=by_layer(x),
        curve_per_dataset={n: by_layer(own[n]) for n in names},
        interval={
            str(i): (round(float(a), 6), round(float(b), 6))
            for i, a, b in zip(settings.layers, low, high, strict=True)
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        versions={
            "swiftprof": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        protocol=run.protocol,
        skipped={name: each for name, each in skipped.items() if each},
        dropped=dropped,
    )


def _curves(
    measured: Mapping[str, tuple[Floats, Floats]], settings: Settings
) -> tuple[Floats, Floats, Floats, dict[str, Floats], dict[str, int]]:
    """Curve, its intervals, each data set's own, and samples of the layers that left the race.

    Each layer's values come from the samples it was re-run on: all, unless there was a race.
    """
    size = len(settings.layers)
    x, low, high = np.empty(size), np.empty(size), np.empty(size)
    own = {name: np.empty(size) for name in measured}
    ran = {name: np.isfinite(reruns) for name, (_, reruns) in measured.items()}
    together: dict[bytes, list[int]] = {}  # columns by the samples they were re-run on
    for column in range(size):
        key = b"".join(each[:, column].tobytes() for each in ran.values())
        together.setdefault(key, []).append(column)
    dropped: dict[str, int] = {}
    for columns in together.values():
        rows = {name: each[:, columns[0]] for name, each in ran.items()}
        scores = {
            name: SampleScores(vanilla[rows[name]], reruns[rows[name]][:, columns])
            for name, (vanilla, reruns) in measured.items()
        }
        x[columns] = combine(scores)
        low[columns], high[columns] = curve_intervals(scores, seed=settings.seed)
        for name in measured:
            own[name][columns] = combine({name: scores[name]})
        if not all(each.all() for each in rows.values()):
            count = sum(int(each.sum()) for each in rows.values())
            dropped |= {str(settings.layers[column]): count for column in columns}
    return x, low, high, own, dict(sorted(dropped.items(), key=lambda each: int(each[0])))
