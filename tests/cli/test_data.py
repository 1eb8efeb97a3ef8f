"""Data sets and own files on the command line: scores, protocols, skipped samples, exit codes."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_dataset
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.profiling.rows import SCHEMA
from swiftprof.runs.part import read_part


@pytest.fixture(scope="module")
def plan_path(bundled, tmp_path_factory):
    model = ModelInfo(
        name="tiny-llava", id="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144
    )
    plan = Plan(
        model=model, stages=(Stage(layer=3, keep=0.3, merge=0.05), Stage(layer=8, keep=0.1))
    )
    return plan.save(tmp_path_factory.mktemp("plan") / "plan.json")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Eight bundled samples as a user's own files: as questions, and as boxes."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("scenes-qa", "scenes-ref"):
        dataset, rows = get_dataset(name), []
        for index in range(8):
            sample = dataset.sample("test", index)
            image = f"{name}-{index}.png"
            sample.image.save(folder / image)
            rows.append({"image": image, "question": sample.question, "answers": sample.answers[0]})
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    path = Path(__file__).parents[1] / "data" / "repositories.py"
    spec = importlib.util.spec_from_file_location("swiftprof_test_repositories", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_all(tmp_path_factory.mktemp("data-root"))


def broken(scenes, folder):
    """Six good rows with four broken ones among them."""
    rows = (scenes / "scenes-qa.jsonl").read_text().splitlines()[:6]
    for image in scenes.glob("scenes-qa-*.png"):
        shutil.copy(image, folder)
    (folder / "cut.png").write_bytes((folder / "scenes-qa-0.png").read_bytes()[:90])
    rows[2:2] = ['{"image": "cut.png", "question": "q", "answers": "a"}', "no json"]
    rows += [
        '{"image": "/etc/hostname", "question": "q", "answers": "a"}',
        '{"image": "scenes-qa-0.png", "question": "", "answers": "a"}',
    ]
    path = folder / "mine.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_own_files_score_as_the_sets_they_came_from(swiftprof, bundled, plan_path, scenes):
    from swiftprof.evaluation.answer import answer_samples

    own = get_dataset(str(scenes / "scenes-qa.jsonl"))
    plan = Plan.load(plan_path)
    variants = {"vanilla": None, "plan": plan}
    ours, _ = answer_samples(bundled, own, "all", range(8), variants)
    theirs, _ = answer_samples(bundled, get_dataset("scenes-qa"), "test", range(8), variants)
    assert [a.prediction for a in ours] == [a.prediction for a in theirs]
    assert [a.score for a in ours] == [a.score for a in theirs]
    right = sum(a.score for a in ours if a.variant == "vanilla")
    assert right > 4
    result = swiftprof(
        "run", "--plan", plan_path, "--dataset", scenes / "scenes-qa.jsonl", "--json"
    )
    assert result.code == 0
    vanilla, settings = result.document["rows"][0], result.document["settings"]
    assert vanilla["scores"]["scenes-qa"]["score"] == right / 8
    assert settings["splits"] == {"scenes-qa": "all"}
    assert settings["sources"]["scenes-qa"].startswith("scenes-qa.jsonl sha256:")
    assert settings["given"] == {"scenes-qa": str(scenes / "scenes-qa.jsonl")}


def test_every_set_runs_and_says_how_it_is_scored(swiftprof, plan_path, data_root):
    names = "refcoco,refcoco+,refcocog,textvqa,gqa,vqav2,scienceqa,mme,mmbench,pope"
    result = swiftprof(
        "run",
        "--plan",
        plan_path,
        "--dataset",
        names,
        "--data-root",
        data_root,
        "--samples",
        "3",
        "--json",
    )
    assert result.code in (0, 3), result.err  # all of three samples may be answered wrongly
    document = result.document
    vanilla, plan = (row["scores"] for row in document["rows"])
    settings, samples = document["settings"], document["samples"]
    assert list(vanilla) == list(plan) == names.split(",")
    splits = {"refcoco": "testA", "refcocog": "test", "gqa": "testdev", "mmbench": "dev"}
    for name, split in splits.items():
        assert settings["splits"][name] == split
    for name in samples:
        dataset = get_dataset(name, data_root)
        drawn = document["draw"][name]
        assert drawn == draw(dataset, settings["splits"][name], 3, 0)
        assert samples[name] == len(drawn)
        assert dataset.metric in settings["protocol"][name]
        assert "(local copy, files " in settings["sources"][name]
    assert document["skipped"] == {}
    for name, metrics in (
        ("mme", {"acc", "acc+"}),
        ("pope", {"f1", "accuracy", "yes_ratio"}),
        ("mmbench", {"circular"}),
    ):
        assert metrics <= set(plan[name]["metrics"])


def test_tables_fit_the_terminal(swiftprof, plan_path, data_root):
    base = ("run", "--plan", plan_path, "--data-root", data_root, "--samples", "2", "--dataset")
    wide = swiftprof(*base, "refcoco,refcoco+,refcocog,textvqa,gqa,vqav2,scienceqa,pope").out
    assert "…" not in wide
    assert all(len(line) <= 100 for line in wide.splitlines())
    one = " ".join(wide.split())
    assert "refcoco testA, scenes prompt; image padded to a square; boxes in 0-1, un-padded" in one
    assert "yes_ratio" in swiftprof(*base, "pope").out


def test_broken_samples_are_listed_and_cost_code_3(swiftprof, plan_path, scenes, tmp_path):
    path = broken(scenes, tmp_path)
    result = swiftprof("run", "--plan", plan_path, "--dataset", path, "--json")
    assert result.code == 3
    assert result.document["samples"] == {"mine": 6}
    reasons = {s["index"]: s["reason"] for s in result.document["skipped"]["mine"]}
    assert set(reasons) == {2, 3, 8, 9}
    assert "line 3: 'cut.png': not a readable image" in reasons[2]
    assert "line 4: not a line of JSON" in reasons[3]
    assert "line 9: image '/etc/hostname' lies outside" in reasons[8]
    assert "warning: mine: 4 of 10 samples skipped" in result.err
    assert "line 10" in result.err


def test_a_profile_skips_them_too_and_goes_on(swiftprof, scenes, tmp_path):
    path = broken(scenes, tmp_path)
    command = ("profile", "--datasets", path, "--out", "p", "--json")
    first = swiftprof(*command)
    assert first.code == 3
    document = first.document
    assert document["samples"] == {"mine": 6}
    assert {s["index"] for s in document["skipped"]["mine"]} == {2, 3, 8, 9}
    assert "questions as they stand" in document["settings"]["protocol"]["mine"]
    assert document["settings"]["sources"]["mine"].startswith("mine.jsonl sha256:")
    (part,) = (tmp_path / "p" / "parts").iterdir()
    assert len(pq.read_table(part)) == 6
    assert len(read_part(part, SCHEMA).stamp.skipped) == 4
    (tmp_path / "p" / "profile.json").unlink()
    again = swiftprof(*command)
    assert again.code == 3
    kept = ("curve", "skipped", "samples", "vanilla", "settings")
    assert all(again.document[k] == document[k] for k in kept)
    assert swiftprof("plan", "p", "--budget", "2").code == 0
    path.write_text(path.read_text() + "\n{}\n")
    assert "sources" in swiftprof(*command[:-1]).err  # the file has changed: refused


def test_nothing_usable_is_an_error(swiftprof, plan_path, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"image": "no.png", "question": "q", "answers": "a"}\n' * 3)
    for command in (
        ("run", "--plan", plan_path, "--dataset"),
        ("profile", "--out", "p", "--datasets"),
    ):
        result = swiftprof(*command, path)
        assert result.code == 2
        assert "all of the first 3 samples" in result.err or "none of 3 samples" in result.err
        assert "no such file" in result.err


def test_bad_input_is_one_line(swiftprof, plan_path, data_root, tmp_path):
    def complaint(*arguments):
        return swiftprof(*arguments).complaint

    run = ("run", "--plan", plan_path, "--data-root", data_root, "--dataset")
    profile = ("profile", "--data-root", data_root, "--datasets")
    assert "mme has no split 'train': it has test" in complaint(*profile, "mme")
    assert "it has train, val-unc, val" in complaint(*run, "refcoco", "--split", "dev")
    assert "did you mean 'refcoco'" in complaint(*run, "refcocoo")
    assert "no such folder" in complaint(
        "run", "--plan", plan_path, "--dataset", "pope", "--data-root", "nowhere"
    )
    assert "'lava' is not one of" in complaint(*run, "scenes-qa", "--prompt-style", "lava")
    assert "no such file" in complaint(*run, tmp_path / "none.jsonl")
    assert "--dataset" in complaint(*run, ",")


def test_prompt_styles_are_recorded(swiftprof, plan_path, data_root):
    base = (
        "run",
        "--plan",
        plan_path,
        "--data-root",
        data_root,
        "--dataset",
        "textvqa",
        "--samples",
        "2",
        "--json",
    )
    for style in ("llava", "lmms"):
        settings = swiftprof(*base, "--prompt-style", style).document["settings"]
        assert settings["protocol"]["textvqa"].startswith(f"{style} prompt without OCR tokens")


def test_the_list_tells_what_is_there(swiftprof, data_root):
    listed = {
        d["name"]: d
        for d in swiftprof("datasets", "--data-root", data_root, "--json").document["datasets"]
    }
    assert listed["vqav2"]["local_copies"] == ["train", "validation"]
    assert listed["mme"]["profile_split"] is None
    assert listed["textvqa"]["profile_split"] == "train"
    assert listed["refcoco"]["sources"]["train"] == ["jxu124/refcoco"]
    assert all(d["licence"] and d["metric"] and d["splits"] for d in listed.values())
    plain = swiftprof("datasets").out
    assert "2,374" in plain
    assert "CC BY 4.0" in plain
    assert "testB 1,810" in " ".join(plain.split())
