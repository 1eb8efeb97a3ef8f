"""This process measures the units, one after the other; the next one's images load meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from swiftprof.profiling.job import Unit
from swiftprof.profiling.parts import part_path, write_part
from swiftprof.profiling.worker import Worker


def run_units(
    worker: Worker, folder: Path, work: Sequence[Unit], on_batch: Callable[[int], None]
) -> None:
    """Measure units and write their parts; what is written stays whatever happens later."""
    if not work:
        return
    loader = ThreadPoolExecutor(1, thread_name_prefix="swiftprof-images")
    try:
        coming = loader.submit(worker.ask, work[0])
        for number, unit in enumerate(work):
            asked = coming.result()
            if number + 1 < len(work):
                coming = loader.submit(worker.ask, work[number + 1])
            done = worker.measure(asked, on_batch)
            write_part(part_path(folder, unit.dataset, unit.number), done.rows, done.skipped)
    finally:
        loader.shutdown(wait=True, cancel_futures=True)
