"""Workers on Ray, on this machine or a cluster: one loaded model each, units handed out as they go.

A worker measures a unit and sends it back; the driver writes the parts, so no folder need be
shared. A worker that is lost (killed, out of memory, its machine gone) is replaced and its unit
measured again. Results do not depend on how many workers there are: a unit is measured alone.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.models.loading import VLM
from swiftprof.profiling.api import Progress, begin, count, finish
from swiftprof.profiling.job import Request, Unit, prepare, units
from swiftprof.profiling.parts import part_path, write_part
from swiftprof.profiling.race import next_units
from swiftprof.profiling.store import Profile, RunFile
from swiftprof.profiling.summary import missing_units
from swiftprof.profiling.worker import Measured, Worker

MAX_LOSSES = 3
"""Workers that one unit may take down before the run stops."""
CPUS_PER_WORKER = 4
"""Where there is no GPU."""

Loader = Callable[[], VLM]


class _Remote:
    """The process that holds one model."""

    def __init__(self, load: Loader, request: Request, batch_size: int | None) -> None:
        self._load, self._request, self._size = load, request, batch_size
        self._worker: Worker | None = None
        self._warnings: list[str] = []

    def start(self) -> tuple[int, RunFile, str]:
        """Load the model; the process's id, the run as seen from here, how much runs together."""
        vlm = self._load()
        run = prepare(vlm, self._request)
        self._worker = Worker(vlm, self._request, run.settings, self._size, self._warnings.append)
        return os.getpid(), run, str(self._worker.fitting)

    def measure(self, unit: Unit) -> tuple[Measured, list[str]]:
        """Measure a unit; warnings come with it."""
        assert self._worker is not None
        done = self._worker.measure(self._worker.ask(unit))
        warnings, self._warnings[:] = list(self._warnings), []
        return done, warnings


def profile_on_ray(
    load: Loader,
    request: Request,
    *,
    workers: int | None = None,
    address: str | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
    on_worker: Callable[[int], None] | None = None,
) -> Profile:
    """Profile with workers on Ray (see `swiftprof.profiling.api.profile`).

    Args:
        load: loads the model in a worker; must be picklable.
        workers: how many; by default one per GPU of the cluster, without GPUs one per four CPUs.
        address: of a running cluster, ``auto`` or ``ray://host:port``; by default Ray is started
            here and stopped at the end.
        on_worker: told the process id of each worker that has loaded its model.

    Raises:
        SwiftprofError: Ray is missing or not reachable, a worker cannot load the model, or one
            unit has taken down three workers.
    """
    if workers is not None and workers < 1:
        raise BadParameter("workers", workers, "must be at least 1, or auto")
    ray = _ray()
    began = time.monotonic()
    ours = _connect(ray, address)
    try:
        pool = _Pool(ray, load, request, batch_size, workers, warn or _silent, note or _silent)
        try:
            return pool.run(out, progress or (lambda done, total: None), on_worker, began)
        finally:
            pool.close()
    finally:
        if ours:
            ray.shutdown()


def _silent(text: str) -> None:
    """Say nothing."""


class _Pool:
    """The driver's view of the workers."""

    def __init__(
        self,
        ray: Any,
        load: Loader,
        request: Request,
        batch_size: int | None,
        workers: int | None,
        warn: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self._ray, self._warn, self._note = ray, warn, note
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self._size = workers or gpus or max(1, int(resources.get("CPU", 1)) // CPUS_PER_WORKER)
        options = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        self._kind = ray.remote(**options)(_Remote)
        self._arguments = (load, request, batch_size)
        self._busy: dict[Any, tuple[Any, Unit | None]] = {}  # future -> worker, its unit
        self._idle: list[Any] = []
        self._waiting: deque[Unit] = deque()

    def run(
        self,
        out: str | Path | None,
        progress: Progress,
        on_worker: Callable[[int], None] | None,
        began: float,
    ) -> Profile:
        """Hand out units until all parts are there."""
        run: RunFile | None = None
        folder, total, done = Path(), 0, 0
        losses: Counter[Unit | None] = Counter()
        new = False
        self._hire()
        while self._busy:
            ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=1.0)
            for future in ready:
                worker, unit = self._busy.pop(future)
                try:
                    result = self._ray.get(future)
                except self._ray.exceptions.RayTaskError as error:  # its own code raised
                    raise (error.cause if isinstance(error.cause, Exception) else error) from None
                except self._ray.exceptions.RayError as error:
                    self._ray.kill(worker)
                    losses[unit] += 1
                    if losses[unit] >= MAX_LOSSES:
                        raise SwiftprofError(_lost(unit, error)) from error
                    self._warn(f"a worker was lost ({_first_line(error)}); another one takes over")
                    if unit is not None:
                        self._waiting.appendleft(unit)
                    self._hire()
                    continue
                self._idle.append(worker)
                if unit is None:
                    pid, seen, fitting = result
                    losses[None] = 0
                    if on_worker is not None:
                        on_worker(pid)
                    if run is None:
                        run, folder = seen, begin(seen, out)
                        self._note(f"{fitting}, per worker")
                        missing = missing_units(folder, run)
                        total = count(units(run.draw, run.settings.datasets))
                        done = total - count(missing)
                        progress(done, total)
                        for _ in range(min(self._size, len(missing)) - 1):
                            self._hire()
                    _check_same(run, seen)
                else:
                    measured, warnings = result
                    path = part_path(folder, unit.dataset, unit.number)
                    write_part(path, measured.rows, measured.skipped)
                    new, done = True, done + len(unit.indices)
                    progress(done, total)
                    for text in warnings:
                        self._warn(text)
                assert run is not None  # a worker has started
                if not self._waiting and not self._measuring():
                    self._waiting.extend(next_units(folder, run))  # of the next round of a race
                self._hand_out()
        assert run is not None
        finished = finish(folder, run, new, time.monotonic() - began)
        assert isinstance(finished, Profile)
        return finished

    def close(self) -> None:
        """Let all workers go."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            self._ray.kill(worker)
        self._idle.clear()
        self._busy.clear()

    def _measuring(self) -> bool:
        """Whether a unit is under way."""
        return any(unit is not None for _, unit in self._busy.values())

    def _hand_out(self) -> None:
        """Give idle workers units."""
        while self._waiting and self._idle:
            worker, unit = self._idle.pop(), self._waiting.popleft()
            self._busy[worker.measure.remote(unit)] = (worker, unit)

    def _hire(self) -> None:
        worker = self._kind.remote(*self._arguments)
        self._busy[worker.start.remote()] = (worker, None)


def _check_same(run: RunFile, seen: RunFile) -> None:
    if seen.settings != run.settings or seen.draw != run.draw:
        why = run.settings.difference(seen.settings) or "other samples are drawn there"
        raise SwiftprofError(
            f"a worker would measure something else ({why}): give all machines the same data, "
            "model and versions"
        )


def _lost(unit: Unit | None, error: Exception) -> str:
    if unit is None:
        return f"three workers were lost while they loaded the model ({_first_line(error)})"
    return (
        f"part {unit.number} of {unit.dataset} has taken down three workers "
        f"({_first_line(error)}); try a smaller `batch_size`"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(". ")


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise BadParameter(
            "engine", "ray", "Ray is not installed; pip install 'swiftprof[ray]'"
        ) from None
    return ray


def _connect(ray: Any, address: str | None) -> bool:
    """Join a cluster or start one here; whether it is ours to stop."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of this run
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            include_dashboard=False if address is None else None,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BadParameter(
            "address",
            address or "local",
            f"Ray cannot be reached ({_first_line(error)}); "
            "start it with ray start --head, or leave `address` out",
        ) from None
    return True
