"""From a folder's parts to ``profile.json``: the curve, its intervals, what was skipped."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from swiftprof import __version__
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import combine
from swiftprof.planning.stability import curve_intervals
from swiftprof.profiling.job import Unit, units
from swiftprof.profiling.parts import is_complete, part_path, read_part, read_scores, read_skipped
from swiftprof.profiling.store import SCHEMA, RunFile, Summary, write_summary

__all__ = ["missing_units", "summarise", "write_profile"]


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
    scores = {n: read_scores(parts[n], len(settings.layers)) for n in names}
    dead = [n for n in names if not scores[n].vanilla.mean() > 0]
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

    low, high = curve_intervals(scores, seed=settings.seed)
    return Summary(
        schema=SCHEMA,
        settings=settings,
        decoder=run.decoder,
        samples={n: len(scores[n].vanilla) for n in names},
        text_tokens=text / rows,
        vanilla={n: float(scores[n].vanilla.mean()) for n in names},
        curve=by_layer(combine(scores)),
        curve_per_dataset={n: by_layer(combine({n: scores[n]})) for n in names},
        interval={
            str(i): (round(float(a), 6), round(float(b), 6))
            for i, a, b in zip(settings.layers, low, high, strict=True)
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        versions={
            "swiftprof": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        protocol=run.protocol,
        skipped={name: each for name, each in skipped.items() if each},
    )
