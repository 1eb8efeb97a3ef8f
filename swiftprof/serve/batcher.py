"""The queue: what waits when the model becomes free runs together, oldest first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from swiftprof.serve.errors import ApiError
from swiftprof.serve.generation import Job


class Batcher:
    """One thread that runs batches of jobs.

    Requests that arrive while a batch runs wait for its end; then the oldest one runs with all that
    may run beside it (`Job.key`).

    Args:
        run: answers a batch and delivers to every job; must not raise.
        batch: the most jobs of a batch.
        waiting: the most jobs that may wait.
    """

    def __init__(self, run: Callable[[Sequence[Job]], None], *, batch: int, waiting: int) -> None:
        self._run, self._batch, self._most = run, batch, waiting
        self._jobs: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="swiftprof-serve", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn. Raises ApiError: too many wait, or the server stops."""
        with self._changed:
            if self._closed:
                raise ApiError(503, "the server is shutting down", code="shutting_down")
            self._jobs = deque(each for each in self._jobs if not each.cancelled.is_set())
            if len(self._jobs) >= self._most:
                raise ApiError(
                    503, f"{self._most} requests are waiting already; try again", code="overloaded"
                )
            self._jobs.append(job)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        with self._changed:
            return len(self._jobs)

    def close(self, seconds: float) -> None:
        """Take no more jobs; end those that are left, within a time, and cut the rest short."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            for job in (*self._jobs, *self._running):
                job.cancelled.set()
        self._thread.join(5)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._running = []
                while not (jobs := self._take()):
                    if self._closed:
                        return
                    self._changed.wait()
                self._running = jobs
            self._run(jobs)

    def _take(self) -> list[Job]:
        """The oldest job and those that go with it; the others keep their order."""
        left = deque(job for job in self._jobs if not job.cancelled.is_set())
        self._jobs = deque()
        taken: list[Job] = []
        for job in left:
            if len(taken) < self._batch and (not taken or job.key == taken[0].key):
                taken.append(job)
            else:
                self._jobs.append(job)
        return taken
