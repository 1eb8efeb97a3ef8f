"""This process measures the units, one after the other; the next one's images load meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from swiftprof.profiling.job import Unit
from swiftprof.profiling.settings import Settings
from swiftprof.profiling.worker import NothingWorks, Worker
from swiftprof.runs.folder import Run


def run_units(
    worker: Worker,
    folder: Path,
    run: Run[Settings],
    work: Sequence[Unit],
    on_batch: Callable[[int], None],
    note: Callable[[str], None],
) -> None:
    """Measure units and write their parts; what is written stays whatever happens later.

    Raises:
        Exception: the first unit of every data set failed as a whole.
    """
    put_off = _pass(worker, folder, run, work, on_batch, note)
    # Other units have worked, so what was put off is a matter of its samples, which are skipped.
    _pass(worker, folder, run, put_off, on_batch, note)


def _pass(
    worker: Worker,
    folder: Path,
    run: Run[Settings],
    work: Sequence[Unit],
    on_batch: Callable[[int], None],
    note: Callable[[str], None],
) -> list[Unit]:
    """Measure units; the ones that failed as a whole before anything else had worked."""
    put_off: list[Unit] = []
    if not work:
        return put_off
    loader = ThreadPoolExecutor(1, thread_name_prefix="swiftprof-images")
    try:
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
    finally:
        loader.shutdown(wait=True, cancel_futures=True)
    return put_off
