"""Ray, really started: two workers, one of which is killed; the result is that of one process."""

from __future__ import annotations

import os
import signal
from functools import partial

import pyarrow.parquet as pq
import pytest

from swiftprof.models.loading import load
from swiftprof.profiling import parts
from swiftprof.profiling.engines.on_ray import profile_on_ray
from swiftprof.profiling.job import Request

pytest.importorskip("ray")


def load_for_test(samples: int):
    """The bundled model, in a process that cuts the work as the test does."""
    import torch

    torch.set_num_threads(1)
    parts.PART_SAMPLES = samples
    return load("tiny-llava")


def test_a_lost_worker_is_replaced_and_the_result_is_the_same(
    bundled, small_profile, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(parts, "PART_SAMPLES", 4)
    pids: list[int] = []
    warnings: list[str] = []

    def kill_one(done: int, total: int) -> None:
        if done and len(pids) == 2 and not killed:
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    killed: list[int] = []
    names = tuple(small_profile.datasets)
    done = profile_on_ray(
        partial(load_for_test, 4),
        Request(names, samples=8),
        workers=2,
        out=tmp_path / "ray",
        progress=kill_one,
        warn=warnings.append,
        on_worker=pids.append,
    )
    assert killed
    assert "a worker was lost" in warnings[0]
    assert done.summary.curve == small_profile.summary.curve
    for name in names:
        rows = [row for part in done.parts(name) for row in pq.read_table(part).to_pylist()]
        wanted = [row for p in small_profile.parts(name) for row in pq.read_table(p).to_pylist()]
        for row, one in zip(rows, wanted, strict=True):
            assert row["selection"] == one["selection"]
            assert row["rerun_score"] == one["rerun_score"]
