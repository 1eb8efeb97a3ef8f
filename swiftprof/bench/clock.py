"""Time as it is measured: synchronised with the device, in figures that can be read.

Ratios between variants come from pairs: each repeat runs all variants, one after the other, and
gives one ratio. A machine that slows down for a while slows both down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

Times = Sequence[float]


class Clock:
    """Seconds on one device: what was given to it before a reading is done at the reading."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        """Wait for the device, then read the clock."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def worked(self) -> float:
        """Like `now`, but on a CPU with one thread the time that this process itself has run.

        What other processes take on a busy machine is then not counted.
        """
        if self.device.type == "cpu" and torch.get_num_threads() == 1:
            return time.process_time()
        return self.now()

    @contextmanager
    def span(self, into: dict[str, float], name: str) -> Iterator[None]:
        """Add the time of a block to `into[name]`."""
        began = self.worked()
        yield
        into[name] = into.get(name, 0.0) + self.worked() - began

    def time(self, work: Callable[[], object]) -> float:
        """Seconds of one call."""
        began = self.now()
        work()
        return self.now() - began


def summary(times: Times) -> dict[str, float]:
    """Median, 90th percentile and smallest value, in seconds, and how many there are."""
    return {
        "p50": float(np.quantile(times, 0.5)),
        "p90": float(np.quantile(times, 0.9)),
        "min": float(min(times)),
        "repeats": len(times),
    }


def paired_ratio(base: Times, other: Times) -> float:
    """How many times faster `other` is: the median over repeats of base / other."""
    return float(np.median(np.asarray(base) / np.asarray(other)))
