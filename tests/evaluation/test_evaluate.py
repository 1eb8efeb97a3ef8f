"""`swiftprof eval` on the bundled model, in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from swiftprof.cli.app import main
from swiftprof.data.registry import get_dataset
from swiftprof.data.scenes import ScenesDataset
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation import answer, api
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.compare import compare
from swiftprof.evaluation.settings import VariantSettings
from swiftprof.evaluation.store import PART_SAMPLES, read_part
from swiftprof.models.batch_size import MOST_SAMPLES
from swiftprof.planning.plan_file import ModelInfo, Plan, Stage
from swiftprof.runtime.prune import Pruning

SETS = ["scenes-ref", "scenes-qa"]


@pytest.fixture(scope="module")
def variants(bundled: Any) -> list[VariantSettings]:
    model = ModelInfo(name="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144)
    drop = Plan(model=model, method="drop", stages=(Stage(layer=3, keep=0.4),))
    random = Plan(model=model, method="random", stages=(Stage(layer=2, keep=0.05),))
    return [VariantSettings.of("drop", "b", drop), VariantSettings.of("random", "b", random)]


def test_a_run_that_stops_goes_on_and_gives_what_one_run_gives(
    bundled: Any,
    variants: list[VariantSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = PART_SAMPLES // 10
    monkeypatch.setattr(api, "PART_SAMPLES", size)
    whole = api.evaluate(bundled, variants, SETS, samples=2 * size, out=tmp_path / "whole")
    real, calls = api.answer_samples, []

    def stop_at_the_third(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(api, "answer_samples", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        api.evaluate(bundled, variants, SETS, samples=2 * size, out=tmp_path / "cut")
    parts = sorted((tmp_path / "cut" / "parts").iterdir())
    assert [p.name for p in parts] == ["scenes-ref-00000.parquet", "scenes-ref-00001.parquet"]
    assert not (tmp_path / "cut" / "results.json").exists()
    done = api.evaluate(bundled, variants, SETS, samples=2 * size, out=tmp_path / "cut")
    assert len(calls) == 5  # two, the one that stopped, and the two that were missing
    for mine, theirs in zip(done.results["rows"], whole.results["rows"], strict=True):
        for key in set(mine) - {"seconds"}:
            assert mine[key] == theirs[key]

    with pytest.raises(SwiftprofError, match="seed: 5 here, 0 there"):
        api.evaluate(bundled, variants, SETS, samples=2 * size, seed=5, out=tmp_path / "cut")
    with pytest.raises(SwiftprofError, match="only there: random"):
        api.evaluate(bundled, variants[:1], SETS, samples=2 * size, out=tmp_path / "cut")


def test_scores_do_not_depend_on_batches_that_are_halved_when_memory_runs_out(
    bundled: Any,
    variants: list[VariantSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    once = api.evaluate(
        bundled, variants, SETS[1:], samples=6, out=tmp_path / "once", note=notes.append
    )
    assert notes[0].startswith(f"batch size: {MOST_SAMPLES['cpu']} samples at once")
    real, sizes = answer._run, []

    def limited(vlm: Any, dataset: Any, batch: Any, *rest: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(vlm, dataset, batch, *rest)

    monkeypatch.setattr(answer, "_run", limited)
    small = api.evaluate(bundled, variants, SETS[1:], samples=6, out=tmp_path / "small")
    assert sizes == [6, 3, *[1] * 18]
    assert not any(small.skipped.values())
    for mine, theirs in zip(small.results["rows"], once.results["rows"], strict=True):
        for key in set(mine) - {"seconds"}:
            assert mine[key] == theirs[key]


def test_the_table_is_what_the_answers_say(
    bundled: Any, variants: list[VariantSettings], tmp_path: Path
) -> None:
    done = api.evaluate(bundled, variants, SETS, samples=10, seed=3, out=tmp_path, command="x y")
    plans = {v.name: v.load() for v in variants}
    for name in SETS:
        dataset = get_dataset(name)
        answers, skipped = read_part(tmp_path / "parts" / f"{name}-00000.parquet")
        assert not skipped
        ids = {v: [a.id for a in answers if a.variant == v] for v in (VANILLA, *plans)}
        assert len({tuple(each) for each in ids.values()}) == 1  # the same samples in one order
        draw = json.loads((tmp_path / "run.json").read_text())["draw"][name]
        assert [a.place for a in answers if a.variant == VANILLA] == list(range(10))
        again = compare(bundled, dataset, draw, {VANILLA: None, **plans}, batch_size=5)
        for row in done.results["rows"]:
            assert row["scores"][name]["score"] == pytest.approx(again[row["variant"]].score)
    rows = {row["label"]: row for row in done.results["rows"]}
    vanilla = [rows["vanilla"]["scores"][name]["score"] for name in SETS]
    random = [rows["random"]["scores"][name]["score"] for name in SETS]
    relative = [a / b for a, b in zip(random, vanilla, strict=True)]
    assert rows["random"]["averages"]["overall"]["value"] == pytest.approx(sum(relative) / 2)
    assert rows["random"]["averages"]["localization"]["value"] == pytest.approx(relative[0])
    counts = plans["drop | b"].tokens_per_layer(144)
    assert rows["drop"]["retained"]["mean"] == pytest.approx(sum(counts) / len(counts))
    assert rows["drop"]["tflops"] < rows["vanilla"]["tflops"]
    text = (tmp_path / "results.md").read_text()
    assert f"{random[0]:.3f}" in text
    assert "    x y" in text
    tests = done.results["tests"]
    assert {(t["method"], t["reference"]) for t in tests} == {("random", "drop")}


def test_a_sample_that_fails_is_left_out_for_all_and_named(
    bundled: Any,
    variants: list[VariantSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = ScenesDataset.score

    def score(self: ScenesDataset, prediction: str, sample: Any) -> float:
        if sample.id == broken:
            raise ZeroDivisionError("no such thing")
        return real(self, prediction, sample)

    first = api.evaluate(bundled, variants, ["scenes-qa"], samples=8, out=tmp_path / "a")
    answers, _ = read_part(tmp_path / "a" / "parts" / "scenes-qa-00000.parquet")
    broken = answers[2].id
    monkeypatch.setattr(ScenesDataset, "score", score)
    done = api.evaluate(bundled, variants, ["scenes-qa"], samples=8, out=tmp_path / "b")
    assert first.results["samples"] == {"scenes-qa": 8}
    assert done.results["samples"] == {"scenes-qa": 7}
    [skipped] = done.skipped["scenes-qa"]
    assert skipped.reason == "ZeroDivisionError: no such thing"
    left, _ = read_part(tmp_path / "b" / "parts" / "scenes-qa-00000.parquet")
    assert broken not in {a.id for a in left}
    assert len(left) == 7 * 3


def test_the_command_resumes_marks_failures_and_refuses_nonsense(
    capsys: pytest.CaptureFixture[str],
    small_profile: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["eval", "--profile", str(small_profile.path), "--samples", "6", "--out", "run"]
    common += ["--datasets", "scenes-text", "--ratio", "1/3"]
    assert (
        main([*common, "--methods", "vanilla,fastv,visionzip,pdrop,sparsevlm,feather", "--json"])
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "swiftprof.eval/1"
    assert [row["label"] for row in document["rows"]][1:] == [
        "fastv",
        "visionzip",
        "pdrop",
        "sparsevlm",
        "feather",
    ]
    for row in document["rows"][1:]:
        assert row["retained"]["mean"] == pytest.approx(48, abs=0.6)

    monkeypatch.setattr(Pruning, "attach", lambda self: pytest.fail("nothing is left to run"))
    assert main([*common, "--methods", "vanilla,fastv,visionzip,pdrop,sparsevlm,feather"]) == 0
    shown = capsys.readouterr().out
    assert "Retain 1/3 of the tokens" in shown
    assert "feather" in shown

    assert main([*common, "--methods", "fastv"]) == 2
    assert "only there: visionzip" in capsys.readouterr().err
    for arguments, named in (
        (["--methods", "fastvv"], "did you mean 'fastv'"),
        (["--ablation", "--methods", "fastv"], "--ablation"),
        (["--methods", "fastv", "--retain", "3"], "--retain and --ratio"),
        (["--methods", "fastv", "--reference", "drop"], "--reference drop"),
        (["--methods", "drop:seeds=x"], "no option 'seeds'"),
    ):
        assert main([*common, *arguments]) == 2
        assert named in capsys.readouterr().err
