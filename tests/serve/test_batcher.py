"""The queue: order, who runs together, who is left out, and its end."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from swiftprof.serve.batcher import Batcher
from swiftprof.serve.errors import ApiError
from swiftprof.serve.generation import Job


def job(variant: str, number: int) -> Job:
    return Job(variant, str(number), [], 1, lambda event: None)


class Held:
    """Runs batches one at a time, each when the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, jobs: Sequence[Job]) -> None:
        self.batches.append([each.variant + each.prompt for each in jobs])
        self.begun.release()
        self.go.acquire(timeout=20)


def test_what_waits_runs_together_oldest_first() -> None:
    held = Held()
    queue = Batcher(held, batch=3, waiting=6)
    queue.submit(job("a", 0))
    assert held.begun.acquire(timeout=20)
    jobs = [job(name, number) for number, name in enumerate("abbaab", start=1)]
    for each in jobs:
        queue.submit(each)
    with pytest.raises(ApiError, match="6 requests are waiting") as caught:
        queue.submit(job("a", 9))
    assert (caught.value.status, queue.waiting) == (503, 6)
    jobs[1].cancelled.set()
    queue.submit(job("a", 7))  # the one that left made room
    for _ in range(4):
        held.go.release()
    queue.close(20)
    assert held.batches == [["a0"], ["a1", "a4", "a5"], ["b3", "b6"], ["a7"]]
    with pytest.raises(ApiError, match="shutting down"):
        queue.submit(job("a", 8))


def test_closing_in_a_hurry_cuts_short_what_is_left() -> None:
    held = Held()
    queue = Batcher(held, batch=1, waiting=6)
    first, second = job("a", 0), job("a", 1)
    queue.submit(first)
    queue.submit(second)
    assert held.begun.acquire(timeout=20)
    threading.Timer(0.3, held.go.release).start()
    queue.close(0.01)
    assert first.cancelled.is_set()
    assert second.cancelled.is_set()
    assert held.batches == [["a0"]]
