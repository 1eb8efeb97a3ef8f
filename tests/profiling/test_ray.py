"""Ray, really started: workers and whole runs are killed; the result is that of one process."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from swiftprof.models.loading import load
from swiftprof.profiling import api
from swiftprof.profiling.engines.on_ray import profile_on_ray
from swiftprof.profiling.job import Request

pytest.importorskip("ray")

HERE = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


def load_for_test():
    """The bundled model, in a process that leaves some of the machine to the others."""
    import torch

    torch.set_num_threads(1)
    return load("tiny-llava")


def test_a_lost_worker_is_replaced_and_the_result_is_the_same(small_profile, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
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


LOCAL = """
import sys
from swiftprof.models.loading import load
from swiftprof.profiling import api, parts
parts.PART_SAMPLES = 3
api.profile(load("tiny-llava"), ["scenes-qa", "scenes-text"], samples=12, race=0.5, out=sys.argv[1])
"""
ON_RAY = """
import sys
from functools import partial
from swiftprof.models.loading import load
from swiftprof.profiling import parts
from swiftprof.profiling.engines.on_ray import profile_on_ray
from swiftprof.profiling.job import Request
parts.PART_SAMPLES = 3
request = Request(("scenes-qa", "scenes-text"), samples=12, race=0.5)
profile_on_ray(partial(load, "tiny-llava"), request, workers=2, out=sys.argv[1])
"""


def killed(script, folder):
    """Run a script until it has written two parts, then kill it with all that it started."""
    psutil = pytest.importorskip("psutil")
    running = psutil.Popen([sys.executable, "-c", script, str(folder)])
    found = []
    while running.poll() is None and len(found) < 2:
        time.sleep(0.005)
        found = list((folder / "parts").glob("*.parquet"))
    family = [running, *running.children(recursive=True)]
    for each in family:
        each.kill()
    psutil.wait_procs(family, 60)
    assert 2 <= len(list((folder / "parts").glob("*.parquet"))) < 8
    return folder


def same(done, wanted):
    assert done.summary.curve == wanted.summary.curve
    assert done.dropped == wanted.dropped != {}
    for part, other in zip(done.parts(), wanted.parts(), strict=True):
        assert pq.read_table(part).equals(pq.read_table(other))


@pytest.mark.usefixtures("small_units")
def test_ray_goes_on_where_a_local_race_was_killed(raced, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    folder = killed(LOCAL, tmp_path / "local")
    request = Request(("scenes-qa", "scenes-text"), samples=12, race=0.5)
    same(profile_on_ray(load_for_test, request, workers=2, out=folder), raced[0])


@pytest.mark.usefixtures("small_units")
def test_one_process_goes_on_where_a_race_on_ray_was_killed(bundled, raced, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    folder = killed(ON_RAY, tmp_path / "ray")
    done = api.profile(bundled, raced[0].datasets, samples=12, race=0.5, out=folder)
    same(done, raced[0])
