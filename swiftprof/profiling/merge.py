"""Bringing the parts of shards together: ``swiftprof merge``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from swiftprof.errors import SwiftprofError
from swiftprof.files import write_atomic
from swiftprof.profiling.job import units
from swiftprof.profiling.parts import is_complete, part_path
from swiftprof.profiling.store import Profile, check_same, open_run, read_run
from swiftprof.profiling.summary import missing_units, write_profile


def merge(folders: Sequence[str | Path], out: str | Path | None = None) -> Profile:
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
    run = read_run(sources[0])
    target = Path(out) if out is not None else sources[0]
    for source in sources:
        check_same(source, run)
    open_run(target, run)
    for unit in units(run.draw, run.settings.datasets):
        wanted = part_path(target, unit.dataset, unit.number)
        if is_complete(wanted, len(unit.indices)):
            continue
        for source in sources:
            part = part_path(source, unit.dataset, unit.number)
            if source != target and is_complete(part, len(unit.indices)):
                _copy(part, wanted)
                break
    missing = missing_units(target, run)
    if missing:
        total = len(units(run.draw, run.settings.datasets))
        first = part_path(target, missing[0].dataset, missing[0].number).name
        raise SwiftprofError(
            f"{target}: {len(missing)} of {total} parts are missing, the first is {first}; run "
            "their shards again, or swiftprof profile with this `out` for the rest"
        )
    write_profile(target, run, time.monotonic() - began)
    return Profile.load(target)


def _copy(part: Path, wanted: Path) -> None:
    try:
        write_atomic(wanted, lambda temporary: shutil.copyfile(part, temporary))
    except OSError as error:
        raise SwiftprofError(
            f"{wanted}: cannot write this part: {error.strerror or error}; make room and run the "
            "same command again"
        ) from error
