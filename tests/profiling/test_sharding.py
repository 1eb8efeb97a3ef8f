"""Shards: who does what, and that together they give what one process gives."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest

from swiftprof.errors import SwiftprofError
from swiftprof.profiling.api import Unfinished, merge_shards, run_shard
from swiftprof.profiling.job import Request, Shard, choose_shard
from swiftprof.profiling.store import Profile
from swiftprof.runs import folder


def test_every_unit_belongs_to_exactly_one_shard():
    work = list(range(11))
    for count in (1, 2, 3, 7, 20):
        shares = [Shard(i, count).of(work) for i in range(count)]
        assert sorted(unit for share in shares for unit in share) == work
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_options_come_before_launchers():
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    slurm = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "2"}
    assert choose_shard(None, None, {}) == Shard()
    assert choose_shard(None, None, torchrun) == Shard(3, 8, 1, "torchrun")
    assert choose_shard(None, None, slurm) == Shard(2, 4, 2, "Slurm")
    assert choose_shard(1, 2, torchrun).index == 1
    assert choose_shard(None, 1, torchrun).count == 1
    assert choose_shard(None, None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}).count == 1
    assert choose_shard(None, None, {"RANK": "x", "WORLD_SIZE": "2"}).count == 1


@pytest.mark.parametrize(("index", "count"), [(None, 2), (2, 2), (-1, 2), (0, 0), (1, None)])
def test_impossible_shards_are_refused(index, count):
    with pytest.raises(SwiftprofError, match=r"num_shards|shard_index"):
        choose_shard(index, count, {})


@pytest.fixture(scope="module")
def shards(bundled, tmp_path_factory):
    """Two shards in folders of their own, and the whole from one process."""
    root = tmp_path_factory.mktemp("shards")
    request = Request(("scenes-qa",), samples=6)
    before, folder.PART_SAMPLES = folder.PART_SAMPLES, 2
    try:
        done = [run_shard(bundled, request, Shard(i, 2), out=root / str(i)) for i in range(2)]
        whole = run_shard(bundled, request, out=root / "whole")
        yield root, done, whole
    finally:
        folder.PART_SAMPLES = before


def test_merged_shards_equal_one_process(shards, tmp_path):
    root, done, whole = shards
    assert [each.missing for each in done] == [1, 2]
    assert all(isinstance(each, Unfinished) for each in done)
    merged = merge_shards([root / "0", root / "1"], tmp_path / "merged")
    for a, b in zip(merged.parts(), whole.parts(), strict=True):
        assert pq.read_table(a).equals(pq.read_table(b))
    ours, theirs = (p.summary.model_dump(exclude={"created", "seconds"}) for p in (merged, whole))
    assert ours == theirs


def test_the_last_shard_in_a_shared_folder_finishes_it(shards, bundled, tmp_path):
    root, _, whole = shards
    shutil.copytree(root / "0", tmp_path / "shared")
    request = Request(("scenes-qa",), samples=6)
    done = run_shard(bundled, request, Shard(1, 2), out=tmp_path / "shared")
    assert isinstance(done, Profile)
    assert done.summary.curve == whole.summary.curve


def test_missing_and_damaged_parts_are_named(shards, tmp_path):
    root, _, _ = shards
    with pytest.raises(SwiftprofError, match=r"1 of 3 parts are missing.*scenes-qa-00001"):
        merge_shards([root / "0"], tmp_path / "some")
    shutil.copytree(root / "1", tmp_path / "damaged")
    part = tmp_path / "damaged" / "parts" / "scenes-qa-00001.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(SwiftprofError, match=r"1 of 3 parts are missing"):
        merge_shards([root / "0", tmp_path / "damaged"], tmp_path / "more")
    with pytest.raises(SwiftprofError, match="no run"):
        merge_shards([tmp_path])


def test_shards_of_other_runs_do_not_mix(shards, bundled, tmp_path):
    root, _, _ = shards
    other = Request(("scenes-qa",), keep=0.3, samples=6)
    run_shard(bundled, other, Shard(1, 2), out=tmp_path / "other")
    with pytest.raises(SwiftprofError, match=r"keep: 0\.2 here, 0\.3 there"):
        merge_shards([root / "0", tmp_path / "other"], tmp_path / "mixed")
