"""Ray, really started: workers and whole runs are killed; the result is that of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from swiftprof.models.loading import load
from swiftprof.profiling import api, on_ray
from swiftprof.profiling.job import Request
from swiftprof.profiling.on_ray import profile_on_ray

pytest.importorskip("ray")

HERE = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
SETS = ("scenes-qa", "scenes-text")


def load_for_test():
    """The bundled model, in a process that leaves some of the machine to the others."""
    import torch

    torch.set_num_threads(1)
    return load("tiny-llava")


def same(done, wanted):
    assert done.summary.curve == wanted.summary.curve
    for part, other in zip(done.parts(), wanted.parts(), strict=True):
        assert pq.read_table(part).equals(pq.read_table(other))


def test_lost_workers_are_replaced_and_hires_without_room_given_up(
    small_profile, tmp_path, monkeypatch
):
    """Of four workers only as many as there are cores find room; the first one is killed."""
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setattr(on_ray, "HIRE_SECONDS", 40.0)
    pids: list[int] = []
    warnings: list[str] = []

    def kill_first(pid: int) -> None:
        pids.append(pid)
        if len(pids) == 1:  # before it has been given anything to do
            os.kill(pid, signal.SIGKILL)

    done = profile_on_ray(
        load_for_test,
        Request(SETS, samples=8),
        workers=64,
        out=tmp_path / "ray",
        warn=warnings.append,
        on_worker=kill_first,
    )
    assert len(set(pids)) >= 2
    assert "a worker was lost" in warnings[0]
    same(done, small_profile)


def test_a_lost_machine_is_done_without(small_profile, tmp_path, monkeypatch):
    """Two raylets make a cluster; the one that has no driver is killed when it has a worker."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setattr(on_ray, "HIRE_SECONDS", 40.0)  # a busy machine is slow to start a worker
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)
    workers: list[int] = []
    warnings: list[str] = []

    def lose_machine(pid: int) -> None:
        workers.append(pid)
        if len(workers) == 2:
            cluster.remove_node(lost, allow_graceful=False)

    try:
        done = profile_on_ray(
            load_for_test,
            Request(SETS, samples=8),
            workers=2,
            address=cluster.address,
            out=tmp_path / "ray",
            warn=warnings.append,
            on_worker=lose_machine,
        )
    finally:
        cluster.shutdown()
    assert len(workers) >= 2
    same(done, small_profile)


LOCAL = """
import sys
from swiftprof.models.loading import load
from swiftprof.profiling import api
from swiftprof.runs import folder
folder.PART_SAMPLES = 3
api.profile(load("tiny-llava"), ["scenes-qa", "scenes-text"], samples=9, out=sys.argv[1])
"""
ON_RAY = """
import sys
from functools import partial
from swiftprof.models.loading import load
from swiftprof.profiling.on_ray import profile_on_ray
from swiftprof.profiling.job import Request
from swiftprof.runs import folder
folder.PART_SAMPLES = 3
request = Request(("scenes-qa", "scenes-text"), samples=9)
profile_on_ray(partial(load, "tiny-llava"), request, workers=2, out=sys.argv[1])
"""


@pytest.fixture
def whole(bundled, small_units, tmp_path_factory):
    return api.profile(bundled, SETS, samples=9, out=tmp_path_factory.mktemp("whole") / "p")


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
    assert 2 <= len(list((folder / "parts").glob("*.parquet"))) < 6
    return folder


def test_ray_goes_on_where_a_local_run_was_killed(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    folder = killed(LOCAL, tmp_path / "local")
    same(profile_on_ray(load_for_test, Request(SETS, samples=9), workers=2, out=folder), whole)


def test_one_process_goes_on_where_a_run_on_ray_was_killed(bundled, whole, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    folder = killed(ON_RAY, tmp_path / "ray")
    same(api.profile(bundled, SETS, samples=9, out=folder), whole)


DRIVER = """
import sys
from functools import partial
from swiftprof.models.loading import load
from swiftprof.profiling.on_ray import profile_on_ray
from swiftprof.profiling.job import Request
hired = lambda pid: print(pid, flush=True)
request = Request(("scenes-qa",), samples=500)
profile_on_ray(partial(load, "tiny-llava"), request, workers=1, out=sys.argv[1], on_worker=hired)
"""


def marked(mark):
    """Processes that were started, at whatever remove, with a mark in their environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "comm").read_text().strip()
        except OSError:  # gone in the meantime, or another user's
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_nothing_that_works_outlives_a_driver_that_is_killed(tmp_path):
    """Worker, raylet and servers end with it. Ray's two idle agents notice a minute later."""
    environment = {**os.environ, "PYTHONPATH": HERE, "SWIFTPROF_TEST": str(tmp_path)}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "out")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    mark = f"SWIFTPROF_TEST={tmp_path}"
    assert {driver.pid, worker} < set(marked(mark))  # and Ray's own
    driver.kill()
    driver.wait(60)
    driver.stdout.close()
    agents = {"ray::DashboardA", "ray::RuntimeEnv"}
    end = time.monotonic() + 60
    while (left := set(marked(mark).values()) - agents) and time.monotonic() < end:
        time.sleep(0.5)
    assert not left
