"""Evaluations on the bundled model, in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import swiftprof
from swiftprof.cli.app import main
from swiftprof.cli.evaluate import show_done
from swiftprof.cli.output import Output
from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_dataset
from swiftprof.data.scenes import ScenesDataset
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation import answer, fill
from swiftprof.evaluation.answer import VANILLA, answer_samples
from swiftprof.evaluation.api import evaluate
from swiftprof.evaluation.results import Results
from swiftprof.evaluation.settings import VariantSettings
from swiftprof.evaluation.table import findings
from swiftprof.models.memory import MOST_SAMPLES
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.runs import folder
from swiftprof.runtime.prune import Pruning
from swiftprof.tables import percent

SETS = ["scenes-ref", "scenes-qa"]


@pytest.fixture(scope="module")
def variants(bundled: Any) -> list[VariantSettings]:
    model = ModelInfo(name="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144)
    drop = Plan(model=model, method="drop", stages=(Stage(layer=3, keep=0.4),))
    random = Plan(model=model, method="random", stages=(Stage(layer=2, keep=0.05),))
    return [VariantSettings.of("drop", "b", drop), VariantSettings.of("random", "b", random)]


def same(mine: Results, theirs: Results) -> None:
    """Equal but for the times."""
    untimed = {"seconds": 0, "speedup": None}
    assert [r.model_copy(update=untimed) for r in mine.rows] == [
        r.model_copy(update=untimed) for r in theirs.rows
    ]
    assert mine.tests == theirs.tests


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, set[str]]]:
    """What is asked of the model: (data set, samples, variants)."""
    real, calls = answer_samples, []

    def counted(vlm: Any, dataset: Any, split: str, indices: Any, plans: Any, **more: Any) -> Any:
        calls.append((dataset.name, len(indices), set(plans)))
        return real(vlm, dataset, split, indices, plans, **more)

    monkeypatch.setattr(fill, "answer_samples", counted)
    return calls


def test_a_run_that_stops_heals_and_grows_gives_what_one_run_gives(
    bundled: Any,
    variants: list[VariantSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[tuple[str, int, set[str]]],
) -> None:
    monkeypatch.setattr(folder, "PART_SAMPLES", 3)
    whole = evaluate(bundled, variants, SETS, samples=6, out=tmp_path / "whole")
    assert asked[0][0] == "scenes-ref"
    assert asked[1][0] == "scenes-qa"  # the first samples of every set come first
    every = {VANILLA, "drop | b", "random | b"}
    assert sum(n * len(v) for _, n, v in asked) == 2 * 6 * 3

    asked.clear()
    out = tmp_path / "grown"
    evaluate(bundled, variants[:1], SETS[:1], samples=4, out=out)
    assert [(n, v) for _, n, v in asked] == [
        (3, every - {"random | b"}),
        (1, every - {"random | b"}),
    ]
    asked.clear()
    same(evaluate(bundled, variants, SETS, samples=6, out=out).results, whole.results)
    assert sum(n * len(v) for _, n, v in asked) == 2 * 6 * 3 - 4 * 2  # nothing twice

    asked.clear()
    damaged = sorted((out / "parts").iterdir())
    damaged[0].write_bytes(b"")
    damaged[1].write_bytes(damaged[1].read_bytes()[:-9])
    damaged[2].write_bytes(damaged[3].read_bytes())
    (out / "run.json").write_text("{")
    (out / "results.json").write_bytes(b"\0" * 9)
    same(evaluate(bundled, variants, SETS, samples=6, out=out).results, whole.results)
    assert sum(n * len(v) for _, n, v in asked) == 3 * 3  # three parts of one variant each

    with pytest.raises(SwiftprofError, match="seed: 5 here, 0 there"):
        evaluate(bundled, variants, SETS, samples=6, seed=5, out=out)


def test_scores_do_not_depend_on_batches_that_are_halved_when_memory_runs_out(
    bundled: Any,
    variants: list[VariantSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    once = evaluate(
        bundled, variants, SETS[1:], samples=6, out=tmp_path / "once", note=notes.append
    )
    assert notes[0].startswith(f"batch size: {MOST_SAMPLES['cpu']} samples at once")
    assert notes[1].startswith("scenes-qa: answer '")
    real, sizes = answer._run, []

    def limited(vlm: Any, dataset: Any, batch: Any, *rest: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(vlm, dataset, batch, *rest)

    monkeypatch.setattr(answer, "_run", limited)
    small = evaluate(bundled, variants, SETS[1:], samples=6, out=tmp_path / "small")
    assert sizes == [6, 3, *[1] * 18]
    assert not any(small.results.skipped.values())
    same(small.results, once.results)


def test_the_tables_are_what_the_answers_say(
    bundled: Any, variants: list[VariantSettings], tmp_path: Path
) -> None:
    done = evaluate(bundled, variants, SETS, samples=6, seed=3, out=tmp_path, command="x y")
    plans = {VANILLA: None, **{v.name: v.load() for v in variants}}
    for name in SETS:
        drawn = json.loads((tmp_path / "run.json").read_text())["draw"][name]
        again, _ = answer_samples(bundled, get_dataset(name), "test", drawn, plans, batch_size=5)
        for row in done.results.rows:
            mine = [a.score for a in again if a.variant == row.variant]
            assert row.scores[name].score == pytest.approx(sum(mine) / 6)
            assert done.scores[row.variant][name].tolist() == mine
    rows = {row.label: row for row in done.results.rows}
    vanilla, random = ([rows[v].scores[n].score for n in SETS] for v in (VANILLA, "random"))
    relative = [a / b for a, b in zip(random, vanilla, strict=True)]
    averages = rows["random"].averages
    assert averages["overall"].value == pytest.approx(sum(relative) / 2)  # type: ignore[union-attr]
    assert averages["localization"].value == pytest.approx(relative[0])  # type: ignore[union-attr]
    counts = variants[0].load().tokens_per_layer(144)  # type: ignore[union-attr]
    assert rows["drop"].retained.mean == pytest.approx(sum(counts) / len(counts))
    assert rows["drop"].tflops < rows[VANILLA].tflops
    text = (tmp_path / "results.md").read_text()
    assert f"{random[0]:.3f}" in text
    assert "    x y" in text
    assert {(t.method, t.reference) for t in done.results.tests} == {("random", "drop")}
    kept = percent(rows["drop"].averages["overall"].value, 1)  # type: ignore[union-attr]
    assert f"drop keeps {kept} of the unpruned score" in findings(done.results)[-1]
    for row in done.results.rows:
        assert row.speedup == pytest.approx(rows[VANILLA].seconds / row.seconds)
    assert rows[VANILLA].speedup == 1
    assert done.table.columns[-1] == "speed"
    assert done.table.rows[1][-1] == "1.00×"
    assert f"{rows['drop'].speedup:.2f}×" in text
    assert Results.load(tmp_path) == done.results
    frame = done.dataframe
    assert len(frame) == 3 * 2
    assert set(frame[frame.method == "random"].score) == set(random)


def test_a_notebook_shows_results_even_of_one_sample_and_of_vanilla_alone(
    bundled: Any, variants: list[VariantSettings], tmp_path: Path
) -> None:
    other = variants[0].model_copy(update={"budget": "c"})
    for number, wanted in enumerate(([*variants, other], [])):
        done = evaluate(bundled, wanted, SETS[1:], samples=1, out=tmp_path / str(number))
        html = done._repr_html_()
        assert all(row.label in html for row in done.results.rows)
        assert "data:image/png" in html
        for against in ("tokens", "flops"):
            [axes] = done.plot(against).axes
            drawn = {text.get_text() for text in axes.texts}
            assert drawn == {v.label for v in wanted}  # a method is one line, at all its budgets
    with pytest.raises(SwiftprofError, match="against time"):
        done.plot("time")  # type: ignore[arg-type]


def test_a_sample_that_fails_is_left_out_for_all_and_a_set_that_fails_does_not_end_the_run(
    bundled: Any,
    variants: list[VariantSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = ScenesDataset.score

    def score(self: ScenesDataset, prediction: str, sample: Any) -> float:
        if self.name == "scenes-ref" or sample.id == broken:
            raise ZeroDivisionError("no such thing")
        return 0.0 if self.name == "scenes-text" else real(self, prediction, sample)

    dataset = get_dataset("scenes-qa")
    broken = dataset.sample("test", draw(dataset, "test", 5, 0)[2]).id
    monkeypatch.setattr(ScenesDataset, "score", score)
    sets = ["scenes-ref", "scenes-qa", "scenes-text"]
    done = evaluate(bundled, variants[:1], sets, samples=5, out=tmp_path / "b")
    assert done.results.samples == {"scenes-qa": 4, "scenes-text": 5}
    [skipped] = done.results.skipped["scenes-qa"]
    assert skipped.reason == "ZeroDivisionError: no such thing"
    for sets_ in done.answers.values():
        assert broken not in {a.id for a in sets_["scenes-qa"]}
    assert "none of 5 samples can be used" in done.results.left_out["scenes-ref"]
    assert "scores 0" in done.results.left_out["scenes-text"]
    assert done.results.groups["overall"] == ("scenes-qa",)
    with pytest.raises(SwiftprofError, match=r"nothing can be asked of tiny-llava.*no such thing"):
        evaluate(bundled, [], ["scenes-ref"], samples=2, out=tmp_path / "c")


def test_a_method_that_fails_costs_only_its_own_numbers(
    bundled: Any,
    variants: list[VariantSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = evaluate(bundled, variants, SETS, samples=6, out=tmp_path / "whole")
    real, lost = answer._run, {whole.answers[VANILLA]["scenes-qa"][place].id for place in (1, 4)}

    def fails(vlm: Any, dataset: Any, batch: Any, *rest: Any) -> Any:
        if rest[2] == "random | b" and any(s.id in lost for s in batch):
            raise NotImplementedError("no pruning here")
        if rest[2] == "drop | b" and dataset.name == ("scenes-ref" if refuse else ""):
            raise NotImplementedError("never boxes")
        return real(vlm, dataset, batch, *rest)

    refuse = False
    monkeypatch.setattr(answer, "_run", fails)
    done = evaluate(bundled, variants, SETS, samples=6, out=tmp_path / "some")
    assert not done.results.skipped
    assert done.results.samples == dict.fromkeys(SETS, 6)
    [failed] = done.results.failed.values()
    assert [each.reason for each in failed["scenes-qa"]] == [
        "NotImplementedError: no pruning here"
    ] * 2
    theirs, mine = ({row.label: row for row in e.results.rows} for e in (whole, done))
    for label in (VANILLA, "drop"):
        assert mine[label].scores == theirs[label].scores
    kept = [0, 2, 3, 5]
    scores = {v: whole.scores[v]["scenes-qa"][kept] for v in whole.scores}
    found = mine["random"].scores["scenes-qa"]
    assert found.score == pytest.approx(scores["random | b"].mean())
    ratio = scores["random | b"].mean() / scores[VANILLA].mean()
    assert found.relative is not None
    assert found.relative.value == pytest.approx(ratio)
    [test] = [t for t in done.results.tests if t.group == "non_localization"]
    gap = scores["random | b"].mean() - scores["drop | b"].mean()
    assert test.difference.value == pytest.approx(gap / scores[VANILLA].mean())
    assert "random, b failed on 2 samples of scenes-qa, which its row lacks" in done.markdown()
    assert show_done(Output(), done) == 3
    assert "scenes-qa with random | b: 2 of 6 samples skipped" in capsys.readouterr().err

    refuse = True
    lost.clear()
    done = evaluate(bundled, variants, SETS, samples=2, out=tmp_path / "none")
    assert [row.label for row in done.results.rows] == [VANILLA, "random"]
    assert "drop, b failed on 2 samples of scenes-ref: no row" in done.markdown()
    assert Results.load(tmp_path / "none") == done.results


def test_images_in_memory_are_bound_by_their_bytes(
    bundled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, real, held = get_dataset("scenes-qa"), answer.ask_all, []

    def counted(*arguments: Any) -> Any:
        good, bad = real(*arguments)
        held.append(len(good))
        return good, bad

    monkeypatch.setattr(answer, "ask_all", counted)
    once, _ = answer_samples(bundled, dataset, "test", range(5), {VANILLA: None})
    image = dataset.sample("test", 0).images[0]
    monkeypatch.setattr(answer, "HELD_BYTES", 3 * image.width * image.height + 1)
    twice, _ = answer_samples(bundled, dataset, "test", range(5), {VANILLA: None})
    assert held == [5, 2, 2, 1]
    assert [a.prediction for a in once] == [a.prediction for a in twice]


def test_methods_by_name_at_the_layers_of_a_profile_and_flops_of_the_prompts(
    bundled: Any, tmp_path: Path, small_profile: Any
) -> None:
    done = swiftprof.evaluate(
        bundled, ["fastv", "swiftvlm"], ["scenes-qa"], flops=0.0004, samples=4,
        profile=small_profile.path, out=tmp_path,
    )  # fmt: skip
    assert [row.label for row in done.results.rows] == [VANILLA, "fastv", "swiftvlm"]
    for row in done.results.rows[1:]:
        assert row.tflops == pytest.approx(0.0004, rel=0.05)
    assert done.table.columns[0] == "method"


def test_the_command_resumes_marks_failures_and_refuses_nonsense(
    capsys: pytest.CaptureFixture[str],
    small_profile: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["eval", "--profile", str(small_profile.path), "--samples", "4", "--out", "run"]
    common += ["--datasets", "scenes-text", "--ratio", "1/3"]
    methods = ["fastv", "visionzip", "pdrop", "sparsevlm", "feather"]
    assert main([*common, "--methods", ",".join(["vanilla", *methods]), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "swiftprof.eval/1"
    assert [row["label"] for row in document["rows"]][1:] == methods
    for row in document["rows"][1:]:
        assert row["retained"]["mean"] == pytest.approx(48, abs=0.6)

    monkeypatch.setattr(Pruning, "attach", lambda self: pytest.fail("nothing is left to run"))
    assert main([*common, "--methods", "fastv,feather"]) == 0
    shown = capsys.readouterr().out
    assert "Retain 1/3 of the tokens" in shown
    assert "feather" in shown
    for arguments, named in (
        (["--methods", "fastvv"], "did you mean 'fastv'"),
        (["--ablation", "--methods", "fastv"], "--ablation"),
        (["--methods", "fastv", "--retain", "3"], "--retain and --ratio"),
        (["--methods", "fastv", "--reference", "drop"], "--reference drop"),
        (["--methods", "drop:seeds=x"], "no option 'seeds'"),
    ):
        assert main([*common, *arguments]) == 2
        assert named in capsys.readouterr().err
