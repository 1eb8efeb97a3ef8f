"""From a folder's parts to ``profile.json``: the curve, its intervals, what was skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import SampleScores, combine
from swiftprof.planning.stability import curve_intervals
from swiftprof.profiling.rows import parts_of, read_rows, read_scores, read_skipped, series_of
from swiftprof.profiling.settings import Settings
from swiftprof.profiling.store import SCHEMA, Summary, write_summary
from swiftprof.runs.folder import Run
from swiftprof.runs.settings import versions


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
    write_summary(
        folder,
        _summary(run, scores, skipped, left_out, text / rows, seconds),
    )


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
