"""The profile folder: what is in it, how a run goes on, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_dataset
from swiftprof.data.scenes import ScenesDataset
from swiftprof.errors import SwiftprofError
from swiftprof.profiling import api, worker
from swiftprof.profiling.store import Profile, find_newest
from swiftprof.runs import folder


@pytest.fixture
def copy(small_profile, tmp_path):
    """A copy of the small profile that a test may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(small_profile.path, folder)
    return folder


def test_every_drawn_sample_appears_exactly_once_in_order(small_profile):
    for name in small_profile.datasets:
        dataset = get_dataset(name)
        wanted = [dataset.sample("train", i).id for i in draw(dataset, "train", 8, 0)]
        found = [i for p in small_profile.parts(name) for i in pq.read_table(p)["id"].to_pylist()]
        assert found == wanted
        assert len(set(found)) == 8


def test_rows_hold_what_was_measured(small_profile):
    depth = small_profile.model.num_layers
    for name in small_profile.datasets:
        dataset = get_dataset(name)
        (part,) = small_profile.parts(name)
        for row in pq.read_table(part).to_pylist():
            sample = dataset.sample("train", int(row["id"].split("-")[1]))
            assert (row["question"], tuple(row["answers"])) == (sample.question, sample.answers)
            assert row["score"] == dataset.score(row["prediction"], sample)
            again = [dataset.score(p, sample) for p in row["rerun_prediction"]]
            assert row["rerun_score"] == again
            assert len(again) == depth - 1
            assert row["n_visual"] == 144
            selection = np.array(row["selection"])
            assert selection.shape == (depth, 29)  # round(0.2 * 144)
            assert (np.diff(selection) > 0).all()
            assert selection.min() >= 0
            assert selection.max() < 144


def test_curve_is_the_mean_of_relative_scores(small_profile):
    per_set = []
    for name in small_profile.datasets:
        (part,) = small_profile.parts(name)
        rows = pq.read_table(part).to_pylist()
        vanilla = sum(r["score"] for r in rows) / len(rows)
        per_set.append(
            [
                sum(r["rerun_score"][i] for r in rows) / len(rows) / vanilla
                for i in range(len(small_profile.layers))
            ]
        )
    assert small_profile.curve.x == pytest.approx(np.mean(per_set, 0), abs=1e-5)


def test_loading_gives_the_same_profile(small_profile):
    again = Profile.load(small_profile.path)
    assert again.summary == small_profile.summary
    assert again.sha256 == small_profile.sha256


def test_a_run_goes_on_where_it_stopped(bundled, copy, monkeypatch):
    before = {p.name: p.read_bytes() for p in (copy / "parts").iterdir()}
    (copy / "profile.json").unlink()
    (copy / "parts" / "scenes-text-00000.parquet").unlink()
    measured = []
    real = worker.measure_batch
    monkeypatch.setattr(worker, "measure_batch", lambda *a: measured.append(a[2].name) or real(*a))
    done = api.profile(bundled, ["scenes-qa", "scenes-text"], samples=8, out=copy)
    assert set(measured) == {"scenes-text"}
    for part in done.parts():
        assert (
            pq.read_table(part).to_pylist() == pq.read_table(copy / "parts" / part.name).to_pylist()
        )
        assert part.read_bytes() == before[part.name]


def test_interruption_keeps_finished_parts(bundled, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "PART_SAMPLES", 2)
    calls = []

    def stop_at_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    real = worker.measure_batch
    monkeypatch.setattr(worker, "measure_batch", stop_at_third)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        api.profile(bundled, ["scenes-qa"], samples=6, out=out)
    assert len(list((out / "parts").glob("*.parquet"))) == 2
    with pytest.raises(SwiftprofError, match="not finished"):
        Profile.load(out)
    monkeypatch.setattr(worker, "measure_batch", real)
    resumed = api.profile(bundled, ["scenes-qa"], samples=6, out=out)
    whole = api.profile(bundled, ["scenes-qa"], samples=6, out=tmp_path / "whole")
    for a, b in zip(resumed.parts(), whole.parts(), strict=True):
        assert pq.read_table(a).equals(pq.read_table(b))


def test_other_settings_do_not_mix(bundled, copy):
    with pytest.raises(SwiftprofError, match=r"keep: 0\.3 here, 0\.2 there"):
        api.profile(bundled, ["scenes-qa", "scenes-text"], samples=8, keep=0.3, out=copy)


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.01])
def test_impossible_v_is_refused(bundled, tmp_path, keep):
    with pytest.raises(SwiftprofError, match=r"\(0, 1\]"):
        api.profile(bundled, ["scenes-qa"], samples=2, keep=keep, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_damaged_folders_are_named(copy, tmp_path):
    with pytest.raises(SwiftprofError, match="no such profile folder"):
        Profile.load(tmp_path / "nowhere")
    part = copy / "parts" / "scenes-qa-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SwiftprofError, match=r"scenes-qa-00000.*not a readable part"):
        _ = Profile.load(copy).samples
    part.unlink()
    with pytest.raises(SwiftprofError, match=r"scenes-qa-00000.*incomplete"):
        Profile.load(copy)
    document = json.loads((copy / "profile.json").read_text())
    document["settings"]["layers"] = "all"
    (copy / "profile.json").write_text(json.dumps(document))
    with pytest.raises(SwiftprofError, match=r"settings\.layers"):
        Profile.load(copy)


def test_newest_is_by_its_date_not_by_its_name(copy, tmp_path):
    root = tmp_path / "root"
    for name, created in (("b", "2026-01-01T00:00:00"), ("a", "2026-02-01T00:00:00")):
        shutil.copytree(copy, root / name)
        file = root / name / "profile.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "created": created}))
    assert find_newest(root).path.name == "a"
    assert find_newest(tmp_path / "empty", "llava-1.5-7b") is None
    assert find_newest(tmp_path / "empty").model.name == "tiny-llava"  # it comes with its model


def test_more_samples_and_sets_go_into_the_same_folder(
    bundled, small_profile, tmp_path, monkeypatch
):
    measured = []
    real = worker.measure_batch

    def counted(vlm, steps, dataset, samples, settings, rows):
        measured.extend(s.id for s in samples)
        return real(vlm, steps, dataset, samples, settings, rows)

    monkeypatch.setattr(worker, "measure_batch", counted)
    out, notes = tmp_path / "grown", []
    api.profile(bundled, ["scenes-text"], samples=3, out=out, note=notes.append)
    assert notes[1].startswith("scenes-text: answer '")
    for name in ("profile.json", "run.json"):  # damaged ones are made again
        (out / name).write_bytes(b"\0")
    done = api.profile(bundled, small_profile.datasets, samples=8, out=out)
    assert len(measured) == len(set(measured)) == 16
    assert done.summary.curve == small_profile.summary.curve
    fewer = api.profile(bundled, ["scenes-text"], samples=3, out=out)
    assert len(measured) == 16
    assert fewer.summary.samples == {"scenes-text": 3}
    assert len(fewer.samples["scenes-text"].vanilla) == 3


def test_a_set_that_says_nothing_is_left_out_and_the_rest_is_written(
    bundled, small_profile, tmp_path, monkeypatch
):
    def score(self, prediction, sample):
        if self.name == "scenes-ref":
            raise ValueError("cannot be scored")
        return 0.0 if self.name == "scenes-text" else real(self, prediction, sample)

    real = ScenesDataset.score
    monkeypatch.setattr(ScenesDataset, "score", score)
    out, notes = tmp_path / "run", []
    sets = ["scenes-ref", "scenes-text", "scenes-qa"]
    done = api.profile(bundled, sets, samples=1, out=out, note=notes.append)
    assert done.datasets == ("scenes-qa",)
    left_out = done.summary.left_out
    assert "none of 1 samples can be used" in left_out["scenes-ref"]
    assert "scores 0" in left_out["scenes-text"]
    assert any("wrong on all of them" in note for note in notes)
    again = api.profile(bundled, sets, samples=1, out=out)
    assert again.summary == done.summary
    with pytest.raises(ValueError, match="cannot be scored"):
        api.profile(bundled, sets[:1], samples=1, out=tmp_path / "nothing")
