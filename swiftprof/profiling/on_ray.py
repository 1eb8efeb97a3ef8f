"""Workers on Ray, on this machine or a cluster: one loaded model each, units handed out as they go.

A worker measures a unit and sends it back; the driver writes the parts, so no folder need be
shared. A worker that is lost (killed, out of memory, its machine gone) is replaced and its unit
measured again; one that finds no room is given up, and the others do its work. Results do not
depend on how many workers there are: a unit is measured alone.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftprof.errors import BadParameter, SwiftprofError, reason
from swiftprof.models.loading import VLM
from swiftprof.profiling.api import Progress, begin, count, finish
from swiftprof.profiling.job import Request, Unit, missing_units, prepare, units
from swiftprof.profiling.rows import Settings
from swiftprof.profiling.store import Profile
from swiftprof.profiling.worker import NothingWorks, UnitResult, Worker
from swiftprof.runs.folder import Run

MAX_LOSSES = 3
"""Workers that one unit may take down before the run stops."""
CPUS_PER_WORKER = 4
"""Where there is no GPU."""
HIRE_SECONDS = 60.0
"""A worker that has found no machine to run on after this time is given up."""

Loader = Callable[[], VLM]
Told = Callable[[str], None]


class _Remote:
    """The process that holds one model."""

    def __init__(self, load: Loader, request: Request, batch_size: int | None) -> None:
        self._load, self._request, self._size = load, request, batch_size
        self._worker: Worker | None = None
        self._warnings: list[str] = []

    def here(self) -> int:
        """The process's id; answers as soon as there is a process."""
        return os.getpid()

    def start(self) -> tuple[Run[Settings], str]:
        """Load the model; the run as seen from here, and how much runs together."""
        vlm = self._load()
        run = prepare(vlm, self._request)
        self._worker = Worker(vlm, self._request, run.settings, self._size, self._warnings.append)
        return run, str(self._worker.fitting)

    def measure(self, unit: Unit) -> tuple[UnitResult | NothingWorks, list[str]]:
        """Measure a unit; warnings come with it."""
        assert self._worker is not None
        done: UnitResult | NothingWorks
        try:
            done = self._worker.measure(self._worker.ask(unit))
        except NothingWorks as error:
            why = error.__cause__
            ours = isinstance(why, SwiftprofError)  # anything else may not travel
            done = NothingWorks(why if ours else RuntimeError(reason(why or error)))
        warnings, self._warnings[:] = list(self._warnings), []
        return done, warnings


@dataclass
class _Task:
    """What a worker is doing.

    Attributes:
        kind: "hired" (waits for a machine), "loading" or "measuring".
        since: on the monotonic clock.
    """

    worker: Any
    kind: str
    since: float
    unit: Unit | None = None


def profile_on_ray(
    load: Loader,
    request: Request,
    *,
    workers: int | None = None,
    address: str | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    warn: Told | None = None,
    note: Told | None = None,
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
        SwiftprofError: Ray is missing or not reachable, no worker finds a machine, a worker cannot
            load the model, or one unit has taken down three workers.
    """
    if workers is not None and workers < 1:
        raise BadParameter("workers", workers, "must be at least 1, or auto")
    ray = _ray()
    began = time.monotonic()
    ours = _connect(ray, address)
    try:
        pool = _Pool(ray, (load, request, batch_size), workers, warn or _silent, note or _silent)
        try:
            folder, run, new = pool.run(out, progress or (lambda done, total: None), on_worker)
        finally:
            pool.close()
    finally:
        if ours:
            ray.shutdown()
    finished = finish(folder, run, new, time.monotonic() - began)
    assert isinstance(finished, Profile)
    return finished


def _silent(text: str) -> None:
    """Say nothing."""


class _Pool:
    """The driver's view of the workers."""

    def __init__(
        self, ray: Any, arguments: tuple[Any, ...], workers: int | None, warn: Told, note: Told
    ) -> None:
        self._ray, self._warn, self._note = ray, warn, note
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self._size = workers or gpus or max(1, int(resources.get("CPU", 1)) // CPUS_PER_WORKER)
        options = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        self._kind = ray.remote(**options)(_Remote)
        self._arguments = arguments
        self._tasks: dict[Any, _Task] = {}  # by Ray's future
        self._idle: list[Any] = []
        self._waiting: deque[Unit] = deque()
        self._put_off: list[Unit] = []
        self._losses: Counter[Unit | None] = Counter()
        self._run: Run[Settings] | None = None
        self._folder = Path()

    def run(
        self, out: str | Path | None, progress: Progress, on_worker: Callable[[int], None] | None
    ) -> tuple[Path, Run[Settings], bool]:
        """Hand out units until all parts are there: the folder, the run, whether parts are new."""
        done = total = 0
        new = False
        self._hire()
        while self._run is None or self._waiting or self._measuring():
            self._give_up_hires()
            if not self._tasks:
                raise SwiftprofError(
                    "Ray has no room for a worker any more; look at ray status, or run the same "
                    "command without Ray: what is measured stays"
                )
            ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=1.0)
            for future in ready:
                task = self._tasks.pop(future)
                result = self._result(future, task)
                if result is None:
                    continue
                if task.kind == "hired":
                    if on_worker is not None:
                        on_worker(result)
                    self._begin(task.worker.start.remote(), task.worker, "loading")
                    continue
                self._idle.append(task.worker)
                if task.kind == "loading":
                    seen, fitting = result
                    self._losses[None] = 0
                    if self._run is None:
                        self._note(f"{fitting}, per worker")
                        total, done = self._open(seen, out)
                        progress(done, total)
                    assert self._run is not None
                    _check_same(self._run, seen)
                elif task.unit is not None:
                    measured, warnings = result
                    for text in warnings:
                        self._warn(text)
                    if self._take(task.unit, measured):
                        new, done = True, done + len(task.unit.indices)
                        progress(done, total)
                self._hand_out()
        return self._folder, self._run, new

    def _open(self, run: Run[Settings], out: str | Path | None) -> tuple[int, int]:
        """Open the folder, line up the work and hire for it: samples in all, and samples done."""
        self._run, self._folder = run, begin(run, out)
        missing = missing_units(self._folder, run)
        self._waiting.extend(missing)
        for _ in range(min(self._size, len(missing)) - 1):
            self._hire()
        total = count(units(run))
        return total, total - count(missing)

    def _result(self, future: Any, task: _Task) -> Any:
        """What a task came to; None where its worker was lost, and another one has been hired."""
        try:
            return self._ray.get(future)
        except self._ray.exceptions.RayTaskError as error:  # its own code raised
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except self._ray.exceptions.RayError as error:
            self._ray.kill(task.worker)
            self._losses[task.unit] += 1
            if self._losses[task.unit] >= MAX_LOSSES:
                raise SwiftprofError(_lost(task.unit, error)) from error
            self._warn(f"a worker was lost ({reason(error)}); another one takes over")
            if task.unit is not None:
                self._waiting.appendleft(task.unit)
            self._hire()
            return None

    def _take(self, unit: Unit, measured: UnitResult | NothingWorks) -> bool:
        """Write a unit; or put it off, where nothing works yet that tells what is at fault."""
        assert self._run is not None
        if isinstance(measured, NothingWorks):
            self._put_off.append(unit)
            if {u.dataset for u in self._put_off} == set(self._run.settings.datasets):
                raise measured.args[0] or measured
            return False
        measured.write(self._folder, self._run)
        if unit.number == 0:
            self._note(measured.first_look())
        self._waiting.extend(self._put_off)
        self._put_off.clear()
        return True

    def _give_up_hires(self) -> None:
        """Let hires go that find no machine; as long as others work or wait, that is no error."""
        now = time.monotonic()
        for future, task in list(self._tasks.items()):
            if task.kind == "hired" and now - task.since > HIRE_SECONDS:
                self._ray.kill(task.worker)
                del self._tasks[future]
                self._warn(
                    f"no room for another worker after {HIRE_SECONDS:.0f} s: going on with "
                    f"{len(self._idle) + len(self._tasks)}"
                )

    def close(self) -> None:
        """Let all workers go."""
        for worker in [*self._idle, *(task.worker for task in self._tasks.values())]:
            self._ray.kill(worker)
        self._idle.clear()
        self._tasks.clear()

    def _measuring(self) -> bool:
        """Whether a unit is under way."""
        return any(task.kind == "measuring" for task in self._tasks.values())

    def _hand_out(self) -> None:
        """Give idle workers units."""
        while self._waiting and self._idle:
            worker, unit = self._idle.pop(), self._waiting.popleft()
            self._begin(worker.measure.remote(unit), worker, "measuring", unit)

    def _hire(self) -> None:
        worker = self._kind.remote(*self._arguments)
        self._begin(worker.here.remote(), worker, "hired")

    def _begin(self, future: Any, worker: Any, kind: str, unit: Unit | None = None) -> None:
        self._tasks[future] = _Task(worker, kind, time.monotonic(), unit)


def _check_same(run: Run[Settings], seen: Run[Settings]) -> None:
    if seen.settings != run.settings or seen.draw != run.draw:
        why = run.difference(seen) or "other samples are drawn there"
        raise SwiftprofError(
            f"a worker would measure something else ({why}): give all machines the same data, "
            "model and versions"
        )


def _lost(unit: Unit | None, error: Exception) -> str:
    if unit is None:
        return f"three workers were lost while they loaded the model ({reason(error)})"
    return (
        f"part {unit.number} of {unit.dataset} has taken down three workers "
        f"({reason(error)}); try a smaller `batch_size`"
    )


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
    except Exception as error:  # a start that times out raises a bare one
        raise BadParameter(
            "address",
            address or "local",
            f"Ray cannot be reached ({reason(error)}); "
            "start it with ray start --head, or leave `address` out",
        ) from None
    return True
