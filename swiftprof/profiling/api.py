"""``swiftprof.profile``: draw samples, record and re-run them, write the folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import VLM
from swiftprof.profiling.job import Request, Shard, Unit, missing_units, prepare, units
from swiftprof.profiling.rows import Score, Settings, parts_of, series_of
from swiftprof.profiling.store import FOLDER, Profile, write_profile
from swiftprof.profiling.worker import NothingWorks, Worker
from swiftprof.runs.folder import Run, open_run, read_run

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
            likely the reference answer is (see ``rerun``), which needs no decoding.
        batch_size: samples that run together; by default what memory allows. Halved where memory
            runs out. No result depends on it.
        out: folder; by default ``profiles/<model>-<digest of the settings>``. Samples that were
            measured there are not measured again: an interrupted call goes on where it stopped, and
            more samples or data sets add to what is there.
        progress: called after every batch.
        warn: told in one line what went wrong but did not stop the run.
        note: told in one line how much runs together, and how each data set begins.

    Raises:
        SwiftprofError: unknown data set, a set without such a split, impossible settings, a
            folder with other settings, no data set that says anything.
    """
    request = Request(tuple(datasets), keep, samples, seed, split, data_root, score)
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
    Otherwise `merge_shards` brings the folders together.
    """
    began, shard, note = time.monotonic(), shard or Shard(), note or (lambda text: None)
    run = prepare(vlm, request)
    folder = begin(run, out)
    mine = shard.of(units(run))
    numbers = {(unit.dataset, unit.number) for unit in mine}
    absent = [u for u in missing_units(folder, run) if (u.dataset, u.number) in numbers]
    if absent:
        worker = Worker(vlm, request, run.settings, batch_size, warn)
        note(str(worker.fitting))
        counter = _Counter(count(mine), count(mine) - count(absent), progress)
        _run_units(worker, folder, run, absent, counter.add, note)
    return finish(folder, run, bool(absent), time.monotonic() - began)


def begin(run: Run[Settings], out: str | Path | None) -> Path:
    """Open the folder of a run; refuses one of another run."""
    settings = run.settings
    folder = Path(out) if out else FOLDER / f"{settings.model.name}-{settings.digest()}"
    open_run(folder, run)
    return folder


def finish(folder: Path, run: Run[Settings], new: bool, seconds: float) -> Profile | Unfinished:
    """Write the summary if every part is there.

    Args:
        new: parts have been added, so a summary that exists is of fewer.
    """
    missing = missing_units(folder, run)
    if missing:
        return Unfinished(folder, len(units(run)), len(missing))
    if new or not _is_of(folder, run):
        write_profile(folder, run, seconds)
    return Profile.load(folder)


def _is_of(folder: Path, run: Run[Settings]) -> bool:
    """Whether a sound ``profile.json`` of this very run is there."""
    try:
        there = Profile.load(folder).summary
    except SwiftprofError:
        return False
    names = [name for name in run.settings.datasets if name not in there.left_out]
    return (there.settings, there.draw) == (
        run.settings.only(names),
        {name: run.draw[name] for name in names},
    )


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


def _run_units(
    worker: Worker,
    folder: Path,
    run: Run[Settings],
    work: list[Unit],
    on_batch: Callable[[int], None],
    note: Callable[[str], None],
) -> None:
    """Measure units and write their parts; the next one's images load meanwhile.

    What is written stays whatever happens later.

    Raises:
        Exception: the first unit of every data set failed as a whole.
    """
    loader = ThreadPoolExecutor(1, thread_name_prefix="swiftprof-images")
    try:
        while work:
            put_off: list[Unit] = []
            coming = loader.submit(worker.ask, work[0])
            for number, unit in enumerate(work):
                asked = coming.result()
                if number + 1 < len(work):
                    coming = loader.submit(worker.ask, work[number + 1])
                try:
                    done = worker.measure(asked, on_batch)
                except NothingWorks as error:
                    put_off.append(unit)
                    if {u.dataset for u in put_off} == {u.dataset for u in work}:
                        raise error.__cause__ or error from None
                    on_batch(-len(unit.indices))
                    continue
                done.write(folder, run)
                if unit.number == 0:
                    note(done.first_look())
            work = put_off  # others have worked, so now its samples are at fault, and are skipped
    finally:
        loader.shutdown(wait=True, cancel_futures=True)


def merge_shards(folders: Sequence[str | Path], out: str | Path | None = None) -> Profile:
    """Make one profile of the parts in several folders, or of shards that shared one folder.

    Args:
        folders: what the shards wrote.
        out: where the whole goes; by default the first folder.

    Raises:
        SwiftprofError: other settings in one of them, or parts are missing; what has been merged
            stays.
    """
    began = time.monotonic()
    sources = [Path(each) for each in folders]
    if not sources:
        raise SwiftprofError("no folder named: give the folders that the shards wrote")
    run = read_run(sources[0], Run[Settings])
    target = Path(out) if out is not None else sources[0]
    for source in sources:
        if why := run.difference(read_run(source, Run[Settings])):
            raise SwiftprofError(f"{source}: holds another run than {sources[0]} ({why})")
    open_run(target, run)
    parts = parts_of(target)
    for name in run.settings.datasets:
        for source in (each for each in sources if each != target):
            parts.take(parts_of(source), series_of(run, name))
    missing = missing_units(target, run)
    if missing:
        first = parts.path(missing[0].dataset, missing[0].number).name
        raise SwiftprofError(
            f"{target}: {len(missing)} of {len(units(run))} parts are missing, the first is "
            f"{first}; run their shards again, or swiftprof profile with this `out` for the rest"
        )
    write_profile(target, run, time.monotonic() - began)
    return Profile.load(target)
