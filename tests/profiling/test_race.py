"""The race: who leaves it, that it changes no plan, and that nothing but finished parts decides."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from swiftprof.cli.app import main
from swiftprof.cli.output import Output
from swiftprof.cli.plan import quietly
from swiftprof.cli.profile import show_done
from swiftprof.errors import SwiftprofError
from swiftprof.planning.api import plan
from swiftprof.planning.curve import Curve, SampleScores, combine
from swiftprof.planning.program import solve
from swiftprof.profiling import api, parts, race
from swiftprof.profiling.job import Request
from swiftprof.profiling.merge import merge
from swiftprof.profiling.race import Rules, next_units, round_of, still_in
from swiftprof.profiling.sharding import Shard
from swiftprof.profiling.store import Profile, read_run

SETS = ("scenes-qa", "scenes-text")
RACE = {"samples": 12, "race": 0.5}
DEPTH = 12
LAYERS = tuple(range(2, DEPTH + 1))


def answers(x, count=400, seed=0):
    """Right and wrong answers whose shares are exactly x, in an order of their own."""
    chance = np.random.default_rng(seed)
    right = np.zeros((count, len(x)))
    for column, share in enumerate(x):
        right[: round(share * count), column] = 1
        chance.shuffle(right[:, column])
    return SampleScores(np.ones(count), right)


def rules(count=10_000, risk=0.01, decisions=4, names=("a",)):
    return Rules.of(DEPTH, len(LAYERS), dict.fromkeys(names, count), risk, decisions)


def out(x):
    x = [*x, *[x[-1]] * (len(LAYERS) - len(x))]
    return set(LAYERS) - set(still_in({"a": answers(x)}, LAYERS, rules()))


def test_rounds_double():
    assert [round_of(number) for number in range(9)] == [0, 1, 2, 2, 3, 3, 3, 3, 4]


def test_who_leaves():
    #      layers 2    3    4    5    6    7
    assert out([0.5, 0.2, 0.8, 0.9, 0.9]) == {3, DEPTH}  # layer 2 beats layer 3
    assert out([0.2, 0.6, 0.3, 0.9, 0.9]) == {4, DEPTH}  # layer 3 beats layer 4
    assert out([0.2, 0.4, 0.9, 0.6, 0.95]) == {5, DEPTH}  # layer 4 beats layer 5
    assert out([0.2, 0.4, 0.8, 0.9, 0.6, 0.95]) == {6, DEPTH}  # 4 and 5 beat 6
    assert out([0.5, 0.5, 0.5, 0.5]) == {DEPTH}  # ties are no defeat


def test_no_layer_that_could_be_planned_ever_leaves_where_scores_are_certain():
    """Where x is known (no error is left), leaving is exactly safe for every budget."""
    chance = np.random.default_rng(1)
    for _ in range(300):
        x = chance.integers(0, 8, len(LAYERS)) / 8
        x[0] = max(x[0], 1 / 8)
        data = {"a": answers(x, count=8)}
        left = still_in(data, LAYERS, rules(count=8))  # all of 8 samples are seen: no doubt
        rest = Curve(DEPTH, left, x[[LAYERS.index(i) for i in left]])
        for budget in range(1, 6):
            whole, raced = (solve(c, budget) for c in (Curve(DEPTH, LAYERS, x), rest))
            assert raced.area == pytest.approx(whole.area)
            assert raced.layers == whole.layers


def test_few_samples_decide_nothing():
    data = answers([0.2, 0.9, *[0.0] * 9])
    few = {"a": SampleScores(data.vanilla[:4], data.reruns[:4])}
    assert still_in(few, LAYERS, rules()) == LAYERS[:-1]
    one = {"a": SampleScores(data.vanilla[:1], data.reruns[:1])}
    assert still_in(one, LAYERS, rules()) == LAYERS


def test_the_risk_holds_where_all_layers_are_equally_good():
    """The worst case: chance alone decides who is ahead, and the differences at the end are small.

    A race goes wrong where it changes a plan of the whole profile, whatever the budget.
    """
    chance = np.random.default_rng(2)
    wrong, trials, risk = 0, 200, 0.2
    for _ in range(trials):
        right = (chance.random((400, len(LAYERS))) < 0.6).astype(float)
        layers = LAYERS[:-1]  # the last one leaves rightly
        fixed = rules(count=400, risk=risk, decisions=3)
        for seen in (50, 100, 200):
            columns = [LAYERS.index(i) for i in layers]
            data = {"a": SampleScores(np.ones(seen), right[:seen][:, columns])}
            layers = still_in(data, layers, fixed)
        x = right.mean(axis=0)
        rest = Curve(DEPTH, layers, x[[LAYERS.index(i) for i in layers]])
        whole = Curve(DEPTH, LAYERS, x)
        wrong += any(solve(rest, m).layers != solve(whole, m).layers for m in range(1, 6))
    assert wrong / trials <= risk


def test_the_committed_profile_raced_gives_the_same_plans():
    """Its samples in other orders: every budget's plan stays, most re-runs are saved."""
    whole = Profile.load("swiftprof/tiny/profiles/tiny-llava")
    depth, every, chance = whole.model.num_layers, whole.layers, np.random.default_rng(0)
    drawn = {name: len(s.vanilla) for name, s in whole.samples.items()}
    fixed = Rules.of(depth, len(every), drawn, race.DEFAULT_RISK, 3)
    for _ in range(5):
        order = {name: chance.permutation(count) for name, count in drawn.items()}
        layers, ran = every, 0
        for before, seen in ((0, 50), (50, 100), (100, 200)):
            columns = [every.index(i) for i in layers]
            ran += (seen - before) * len(layers)
            first = {
                name: SampleScores(
                    s.vanilla[order[name][:seen]], s.reruns[order[name][:seen]][:, columns]
                )
                for name, s in whole.samples.items()
            }
            layers = still_in(first, layers, fixed)
        ran += 100 * len(layers)
        assert ran < 0.5 * 300 * len(every)
        columns = [every.index(i) for i in layers]
        rest = {n: SampleScores(s.vanilla, s.reruns[:, columns]) for n, s in whole.samples.items()}
        for budget in range(1, 6):
            wanted = solve(Curve(depth, every, combine(whole.samples)), budget).layers
            assert solve(Curve(depth, layers, combine(rest)), budget).layers == wanted


@pytest.mark.usefixtures("small_units")
def test_layers_leave_and_what_is_left_is_what_was_measured_without_a_race(raced):
    done, whole = raced
    assert len(done.layers) < len(whole.layers)
    assert set(done.layers) | {int(i) for i in done.dropped} == set(whole.layers)
    for layer in done.layers:
        assert done.summary.curve[str(layer)] == whole.summary.curve[str(layer)]
        assert done.summary.interval[str(layer)] == whole.summary.interval[str(layer)]
    for a, b in zip(done.parts(), whole.parts(), strict=True):
        for mine, theirs in zip(
            pq.read_table(a).to_pylist(), pq.read_table(b).to_pylist(), strict=True
        ):
            assert mine["selection"] == theirs["selection"]
            for layer, x, y in zip(
                whole.layers, mine["rerun_score"], theirs["rerun_score"], strict=True
            ):
                assert x == y or (x is None and str(layer) in done.dropped)


@pytest.mark.usefixtures("small_units")
def test_a_layer_that_left_has_the_value_of_the_samples_it_ran_on(raced):
    done, _ = raced
    layer, count = next(iter(done.dropped.items()))
    place = done.summary.settings.layers.index(int(layer))
    x, seen = [], 0
    for name in SETS:
        rows = [r for part in done.parts(name) for r in pq.read_table(part).to_pylist()]
        ran = [r for r in rows if r["rerun_score"][place] is not None]
        seen += len(ran)
        x.append(sum(r["rerun_score"][place] for r in ran) / sum(r["score"] for r in ran))
    assert seen == count < 24
    assert done.summary.curve[layer] == pytest.approx(sum(x) / 2, abs=1e-6)


@pytest.mark.usefixtures("small_units")
def test_the_plan_says_so_and_is_that_of_the_layers_that_are_left(raced):
    done, whole = raced
    made = quietly(plan, done, budget=2, bootstrap=50)
    assert any("left it after fewer samples" in note for note in made.notes)
    wanted = quietly(plan, whole, budget=2, bootstrap=0)
    assert made.pruning_layers == wanted.pruning_layers
    with pytest.raises(SwiftprofError, match="minmax"):
        plan(done, budget=2, normalize="minmax")


@pytest.mark.usefixtures("small_units")
def test_lost_parts_of_any_round_are_made_again_as_they_were(raced, bundled, tmp_path):
    done, _ = raced
    folder = tmp_path / "copy"
    shutil.copytree(done.path, folder)
    lost = [parts.part_path(folder, name, n) for name, n in (("scenes-qa", 0), ("scenes-text", 3))]
    bytes_before = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    run = read_run(folder)
    (first,) = next_units(folder, run)  # the later round waits for the earlier one
    assert (first.dataset, first.number, first.layers) == ("scenes-qa", 0, run.settings.layers)
    again = api.profile(bundled, SETS, **RACE, out=folder)
    assert [path.read_bytes() for path in lost] == bytes_before
    assert again.summary.curve == done.summary.curve
    assert again.dropped == done.dropped


@pytest.mark.usefixtures("small_units")
def test_halves_of_a_race_merge(raced, tmp_path):
    done, _ = raced
    for number in (0, 1):
        half = tmp_path / str(number)
        shutil.copytree(done.path, half)
        (half / "profile.json").unlink()
        for path in sorted((half / "parts").iterdir())[number::2]:
            path.unlink()
    merged = merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
    assert merged.summary.curve == done.summary.curve
    assert merged.dropped == done.dropped


@pytest.mark.usefixtures("small_units")
def test_shards_and_other_risks_are_refused(raced, bundled, tmp_path):
    done, _ = raced
    with pytest.raises(SwiftprofError, match="does not go with shards"):
        api.run_shard(bundled, Request(SETS, race=0.5), Shard(0, 2, origin="torchrun"))
    with pytest.raises(SwiftprofError, match=r"race: 0\.1 here, 0\.5 there"):
        api.profile(bundled, SETS, **{**RACE, "race": 0.1}, out=done.path)
    with pytest.raises(SwiftprofError, match="race_risk 2"):
        Request(SETS, race=2)


@pytest.mark.usefixtures("small_units")
def test_a_profile_that_hides_missing_reruns_is_refused(raced, tmp_path):
    done, _ = raced
    hidden = replace(done, summary=done.summary.model_copy(update={"dropped": {}}))
    with pytest.raises(SwiftprofError, match="does not call dropped"):
        _ = hidden.samples


@pytest.mark.usefixtures("small_units")
def test_the_table_and_the_report_tell_of_layers_that_left(raced, capsys, monkeypatch, tmp_path):
    done, _ = raced
    monkeypatch.setenv("COLUMNS", "120")
    show_done(Output(), done)
    shown = capsys.readouterr().out
    for layer, count in done.dropped.items():
        assert re.search(rf"(?m)^ +{layer} .* of {count}$", shown)
    assert f"{len(done.dropped)} layers that left the race" in shown
    page = tmp_path / "page.html"
    assert main(["report", str(done.path), "--out", str(page)]) == 0
    assert f"layers {', '.join(done.dropped)} were measured on fewer samples" in page.read_text()
    assert "--race-risk 0.5" in page.read_text()
