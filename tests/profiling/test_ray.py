"""Ray, really started: two workers, one of which is killed; the result is that of one process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from swiftprof.models.loading import load
from swiftprof.profiling.engines.on_ray import profile_on_ray
from swiftprof.profiling.job import Request

pytest.importorskip("ray")


def load_for_test():
    """The bundled model, in a process that leaves some of the machine to the others."""
    import torch

    torch.set_num_threads(1)
    return load("tiny-llava")


def test_a_lost_worker_is_replaced_and_the_result_is_the_same(small_profile, tmp_path, monkeypatch):
    here = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    pids: list[int] = []
    warnings: list[str] = []

    def kill_first(pid: int) -> None:
        pids.append(pid)
        if len(pids) == 1:  # before it has been given anything to do
            os.kill(pid, signal.SIGKILL)

    names = tuple(small_profile.datasets)
    done = profile_on_ray(
        load_for_test,
        Request(names, samples=8),
        workers=2,
        out=tmp_path / "ray",
        warn=warnings.append,
        on_worker=kill_first,
    )
    assert len(set(pids)) >= 2
    assert "a worker was lost" in warnings[0]
    assert done.summary.curve == small_profile.summary.curve
    for part, wanted in zip(done.parts(), small_profile.parts(), strict=True):
        assert pq.read_table(part).equals(pq.read_table(wanted))
