"""Faults injected for real: memory, single samples, a full disk, a killed process, cut parts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.models.memory import MOST_ROWS, MOST_SAMPLES
from swiftprof.profiling import api, worker
from swiftprof.profiling.job import Request, prepare, units
from swiftprof.profiling.rows import SCHEMA, parts_of
from swiftprof.profiling.store import Profile
from swiftprof.profiling.worker import NothingWorks, Worker
from swiftprof.runs import folder as runs
from swiftprof.runs.part import Damaged, read_part

SETS = ("scenes-qa", "scenes-text")


@pytest.fixture(scope="module")
def measured(bundled):
    """A worker's undisturbed result on one unit of six samples, and what it takes to repeat it."""
    request = Request(("scenes-qa",), samples=6)
    run = prepare(bundled, request)
    (unit,) = units(run)

    def repeat(**options):
        again = Worker(bundled, request, run.settings, **options)
        return again, again.measure(again.ask(unit))

    return repeat, repeat()[1]


def out_of_memory_above(limit, monkeypatch, sizes):
    real = worker.measure_batch

    def limited(vlm, steps, dataset, samples, settings, max_rows):
        sizes.append(len(samples) * max_rows)
        if len(samples) * max_rows > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return real(vlm, steps, dataset, samples, settings, max_rows)

    monkeypatch.setattr(worker, "measure_batch", limited)


def test_smaller_batches_after_running_out_of_memory_lose_nothing(measured, monkeypatch):
    repeat, wanted = measured
    sizes, warnings = [], []
    out_of_memory_above(2 * MOST_ROWS["cpu"], monkeypatch, sizes)
    again, found = repeat(warn=warnings.append)
    assert found == wanted
    assert again.size == 1
    assert [size // MOST_ROWS["cpu"] for size in sizes] == [6, 3, 1, 1, 1, 1, 1, 1]
    assert "out of memory with 6 samples at once" in warnings[0]


def test_one_sample_that_is_too_much_runs_with_fewer_reruns_at_once(measured, monkeypatch):
    repeat, wanted = measured
    out_of_memory_above(8, monkeypatch, [])
    again, found = repeat(batch_size=1)
    assert found == wanted
    assert again.max_rows <= 8


def test_real_allocation_failures_are_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert worker.out_of_memory(caught.value)
    assert not worker.out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_a_failing_sample_is_tried_again_then_skipped_with_its_reason(measured, monkeypatch):
    repeat, wanted = measured
    bad, calls = list(wanted.rows)[2], []
    bad_id = wanted.rows[bad].id
    real = worker.measure_batch

    def fragile(vlm, steps, dataset, samples, settings, max_rows):
        calls.append(len(samples))
        if bad_id in [s.id for s in samples]:
            raise ValueError("the processor\nchoked")
        return real(vlm, steps, dataset, samples, settings, max_rows)

    monkeypatch.setattr(worker, "measure_batch", fragile)
    _, found = repeat()
    assert calls == [6, 6, 1, 1, 1, 1, 1, 1, 1]  # together, again, each alone, the bad one again
    assert found.rows == {index: row for index, row in wanted.rows.items() if index != bad}
    (skipped,) = found.skipped
    assert skipped.reason == "ValueError: the processor choked"
    assert wanted.unit.indices[2] == skipped.index == bad


def test_where_nothing_works_the_error_itself_is_told(measured, monkeypatch):
    repeat, _ = measured

    def broken(*_):
        raise SwiftprofError("this model cannot be profiled")

    monkeypatch.setattr(worker, "measure_batch", broken)
    with pytest.raises(NothingWorks) as caught:
        repeat()
    assert "cannot be profiled" in str(caught.value.__cause__)


def test_damaged_parts_are_made_again(bundled, small_profile, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(small_profile.path, folder)
    cut, gone = (parts_of(folder).path(name, 0) for name in SETS)
    whole = {path: path.read_bytes() for path in (cut, gone)}
    cut.write_bytes(whole[cut][: len(whole[cut]) // 2])
    gone.unlink()
    notes: list[str] = []
    done = api.profile(bundled, SETS, samples=8, out=folder, note=notes.append)
    most = f"{MOST_SAMPLES['cpu']} samples and {MOST_ROWS['cpu']} re-runs"
    assert re.match(rf"batch size: {most} at once, about 0\.\d+ GiB", notes[0])
    assert {path: path.read_bytes() for path in (cut, gone)} == whole
    assert done.curve.x == pytest.approx(small_profile.curve.x)


def test_any_flipped_bit_of_a_part_is_noticed(small_profile, tmp_path):
    (source,) = small_profile.parts("scenes-qa")
    whole, path = source.read_bytes(), tmp_path / "part.parquet"
    path.write_bytes(whole)
    read_part(path, SCHEMA)
    for place in range(0, len(whole), 7):
        raw = bytearray(whole)
        raw[place] ^= 1 << place % 8
        path.write_bytes(raw)
        with pytest.raises(Damaged):
            read_part(path, SCHEMA)


def test_samples_that_changed_do_not_mix(bundled, small_profile, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(small_profile.path, folder)
    document = json.loads((folder / "run.json").read_text())
    document["draw"]["scenes-qa"][0] += 1
    (folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(SwiftprofError, match="another draw of scenes-qa"):
        api.profile(bundled, SETS, samples=8, out=folder)


PROFILE = """
import sys, torch
torch.set_num_threads(1)
from swiftprof.models.loading import load
from swiftprof.profiling import api
from swiftprof.runs import folder
folder.PART_SAMPLES = 2
api.profile(load("tiny-llava"), ["scenes-qa"], samples=8, out=sys.argv[1], batch_size=2)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_run_goes_on_to_the_same_result(bundled, tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    running = subprocess.Popen([sys.executable, "-c", PROFILE, str(folder)])
    second = folder / "parts" / "scenes-qa-00001.parquet"
    while not second.exists() and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait(60) == -signal.SIGKILL
    left = list((folder / "parts").glob("*.parquet"))
    assert 2 <= len(left) < 4
    kept = {path: path.read_bytes() for path in left}
    half = folder / "parts" / ".scenes-qa-00003.parquet.0123456789ab.tmp"
    half.write_bytes(b"PAR1 half a part")
    live = half.with_name(".scenes-qa-00002.parquet.fedcba987654.tmp")
    live.write_bytes(b"PAR1 of another process that is at it now")
    os.utime(half, (time.time() - 7200,) * 2)
    with pytest.raises(SwiftprofError, match="not finished"):
        Profile.load(folder)

    monkeypatch.setattr(runs, "PART_SAMPLES", 2)
    options = {"samples": 8, "batch_size": 2}
    resumed = api.profile(bundled, ["scenes-qa"], out=folder, **options)
    whole = api.profile(bundled, ["scenes-qa"], out=tmp_path / "whole", **options)
    assert {path: path.read_bytes() for path in left} == kept
    for a, b in zip(resumed.parts(), whole.parts(), strict=True):
        assert pq.read_table(a).equals(pq.read_table(b))
    assert resumed.summary.curve == whole.summary.curve
    assert not half.exists()
    assert live.exists()


FULL = """
import os, sys
from pathlib import Path
from swiftprof.errors import SwiftprofError
from swiftprof.profiling.rows import Row, parts_of
from swiftprof.runs.folder import Series

folder = Path(sys.argv[1])
parts, series = parts_of(folder), Series("a", "digest", tuple(range(100)))
def rows(n, first):
    return {first + i: vars(Row(f"{i}", "a", "", "q" * 300, ["a"], os.urandom(3000).hex(), 1.0, 4,
            9, [[0], [1]], ["a"], [1.0])) for i in range(n)}
parts.add(series, 0, rows(2, 0))
(folder / "ballast").write_bytes(b"x" * (200 << 10))
try:
    parts.add(series, 1, rows(40, 50))
except SwiftprofError as error:
    print(error)
assert sorted(p.name for p in (folder / "parts").iterdir()) == ["a-00000.parquet"]
assert {n: len(i) for n, i in parts.missing(series).items()} == {0: 48, 1: 50}
(folder / "ballast").unlink()
parts.add(series, 1, rows(40, 50))
assert {n: len(i) for n, i in parts.missing(series).items()} == {0: 48, 1: 10}
print("went on")
"""


def test_a_full_disk_keeps_finished_parts(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    mount = f"mount -t tmpfs -o size=256k none {tmp_path}"
    alone = ["unshare", "-rm", "sh", "-c"]
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    command = [*alone, f'{mount} && exec "$0" -c "$1" {tmp_path}', sys.executable, FULL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    complaint, last = done.stdout.splitlines()
    assert "a-00001.parquet: cannot write this part" in complaint
    assert "finished parts are kept" in complaint
    assert last == "went on"
