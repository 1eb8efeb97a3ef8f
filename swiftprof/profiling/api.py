"""``swiftprof.profile``: draw samples, record and re-run them, write the folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftprof.data.base import Dataset
from swiftprof.errors import BadParameter
from swiftprof.models.loading import VLM
from swiftprof.profiling.engines.local import run_units
from swiftprof.profiling.job import Request, Unit, prepare, units
from swiftprof.profiling.race import next_units
from swiftprof.profiling.settings import Score
from swiftprof.profiling.sharding import Shard
from swiftprof.profiling.store import FOLDER, Profile, RunFile, open_run
from swiftprof.profiling.summary import missing_units, write_profile
from swiftprof.profiling.worker import Worker

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""


@dataclass(frozen=True)
class Unfinished:
    """A folder in which other shards still have parts to write.

    Attributes:
        parts, missing: how many parts the profile has, and how many are not there yet.
    """

    path: Path
    parts: int
    missing: int


def profile(
    vlm: VLM,
    datasets: Sequence[str | Dataset],
    *,
    keep: float = 0.2,
    samples: int | None = None,
    seed: int = 0,
    split: str | None = None,
    data_root: str | Path | None = None,
    score: Score = "generation",
    race: float | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Profile:
    """Measure the capability x_i of every layer (paper §3.2).

    Args:
        datasets: names of data sets, ``.jsonl`` or ``.parquet`` files, or data sets.
        keep: V, the share of visual tokens that a selection holds, in (0, 1].
        samples: drawn from each data set's ``split``; by default 1,000, or all of a smaller one.
        split: by default each set's own train split.
        data_root: folder with local copies of data sets.
        score: "generation" decodes an answer and scores it with the set's metric; "nll" scores how
            likely the reference answer is (see ``likelihood``), which needs no decoding.
        race: stop re-running layers that can no longer be planned, at this risk of being wrong
            (`swiftprof.profiling.race`); by default all layers run on all samples.
        batch_size: samples that run together; by default what memory allows. Halved where memory
            runs out. No result depends on it.
        out: folder; by default ``profiles/<model>-<digest of the settings>``. Parts that are
            already there are kept, so the same call goes on where an interrupted one stopped.
        progress: called after every batch.
        warn: told in one line what went wrong but did not stop the run.
        note: told in one line how much runs together.

    Raises:
        SwiftprofError: unknown data set, a set without such a split, impossible settings, a
            folder with other settings, a set whose every sample is broken.
    """
    request = Request(tuple(datasets), keep, samples, seed, split, data_root, score, race)
    done = run_shard(
        vlm, request, batch_size=batch_size, out=out, progress=progress, warn=warn, note=note
    )
    assert isinstance(done, Profile)
    return done


def run_shard(
    vlm: VLM,
    request: Request,
    shard: Shard | None = None,
    *,
    batch_size: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Profile | Unfinished:
    """Measure one shard's units in this process.

    The shards may share a folder: the one that finds all parts there writes ``profile.json``.
    Otherwise `swiftprof.profiling.merge.merge` brings the folders together.
    """
    began, shard = time.monotonic(), shard or Shard()
    check_race(request, shard)
    run = prepare(vlm, request)
    folder = begin(run, out)
    mine = shard.of(units(run.draw, run.settings.datasets))
    absent = set(missing_units(folder, run))
    missing = [unit for unit in mine if unit in absent]
    if missing:
        worker = Worker(vlm, request, run.settings, batch_size, warn)
        if note is not None:
            note(str(worker.fitting))
        counter = _Counter(count(mine), count(mine) - count(missing), progress)
        if run.settings.race is None:
            run_units(worker, folder, missing, counter.add)
        else:
            while now := next_units(folder, run):
                run_units(worker, folder, now, counter.add)
    return finish(folder, run, bool(missing), time.monotonic() - began)


def check_race(request: Request, shard: Shard) -> None:
    """Refuse a race of shards. Raises SwiftprofError."""
    if request.race is not None and shard.count > 1:
        raise BadParameter(
            "race",
            None,
            f"does not go with shards (from {shard.origin or 'run_shard'}), each of which "
            "would have to wait for the others' parts; use `engine` ray, or `num_shards` 1",
        )


def begin(run: RunFile, out: str | Path | None) -> Path:
    """Open the folder of a run; refuses one of another run."""
    settings = run.settings
    folder = Path(out) if out else FOLDER / f"{settings.model.name}-{settings.digest()}"
    open_run(folder, run)
    return folder


def finish(folder: Path, run: RunFile, new: bool, seconds: float) -> Profile | Unfinished:
    """Write the summary if every part is there.

    Args:
        new: parts have been added, so a summary that exists is of fewer.
    """
    missing = missing_units(folder, run)
    if missing:
        return Unfinished(folder, len(units(run.draw, run.settings.datasets)), len(missing))
    if new or not (folder / "profile.json").is_file():
        write_profile(folder, run, seconds)
    return Profile.load(folder)


def count(work: Sequence[Unit]) -> int:
    """Samples in some units."""
    return sum(len(unit.indices) for unit in work)


class _Counter:
    def __init__(self, total: int, done: int, progress: Progress | None) -> None:
        self._total, self._done = total, done
        self._progress = progress or (lambda done, total: None)
        self.add(0)

    def add(self, samples: int) -> None:
        self._done += samples
        self._progress(self._done, self._total)
