"""Bringing the parts of shards together: ``swiftprof merge``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from swiftprof.errors import SwiftprofError
from swiftprof.profiling.job import missing_units, units
from swiftprof.profiling.rows import parts_of, series_of
from swiftprof.profiling.settings import Settings
from swiftprof.profiling.store import Profile
from swiftprof.profiling.summary import write_profile
from swiftprof.runs.folder import Run, open_run, read_run


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
