"""A whole search on the bundled model, small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import swiftprof
from swiftprof.costs.flops import plan_flops
from swiftprof.data.registry import get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.methods import create
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.planning.preset import plan_preset
from swiftprof.search import measure
from swiftprof.search.likelihood import run_shared
from swiftprof.search.measure import Drawn, Meter
from swiftprof.search.store import Store

SMALL = {"limit": "17", "ratio": 0.3, "samples": 10, "seed": 3}


def test_a_search_is_decided_by_its_seed_and_goes_on_where_it_stopped(
    bundled, made_profile, tmp_path, monkeypatch
):
    seen = []
    first = swiftprof.search_plan(
        bundled, made_profile, **SMALL, folder=tmp_path, progress=lambda *at: seen.append(at)
    )
    assert seen == sorted(seen)
    assert seen[-1] == (1000, 1000)
    for again in ("_likelihoods", "_answered"):
        monkeypatch.setattr(Meter, again, lambda *_: pytest.fail("measured again"))
    assert swiftprof.search_plan(bundled, made_profile, **SMALL, folder=tmp_path) == first
    monkeypatch.undo()
    # A part of what was measured is lost: it is measured again, with the same end.
    lines = (tmp_path / "scores.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "scores.jsonl").write_text("".join(lines[:60]))
    assert swiftprof.search_plan(bundled, made_profile, **SMALL, folder=tmp_path) == first

    record = first.search
    assert record is not None
    assert record.tried >= 14
    paper = swiftprof.plan(made_profile, ratio=0.3, bootstrap=0)
    other = record.other if record.better else first.to_dict()
    assert other["stages"] == paper.to_dict()["stages"]
    first.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == first

    def cost(stages, options):
        method = create("swiftvlm", options)
        return plan_flops(bundled.decoder_shape, stages, 144, 12, method=method)

    for each in record.candidates:
        assert cost(each.stages, each.options) == pytest.approx(cost(paper.stages, {}), rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_a_search_on_noise_returns_the_papers_plan(bundled, made_profile, monkeypatch, seed):
    chance = np.random.default_rng(seed)

    def noise(self, plans, *_):
        return [chance.random(30) for _ in plans]

    monkeypatch.setattr(Meter, "likelihood", noise)
    monkeypatch.setattr(Meter, "answers", noise)
    found = swiftprof.search_plan(bundled, made_profile, **SMALL)
    paper = swiftprof.plan(made_profile, ratio=0.3, bootstrap=0)
    assert found.search is not None
    assert found.search.better == (found.search.gain[1] > 0)
    if not found.search.better:
        assert found.stages == paper.stages
        assert "nothing better beyond noise" in found.notes[-1]
    assert seed or not found.search.better


def test_a_winner_replaces_the_papers_plan_where_it_is_better(bundled, made_profile, monkeypatch):
    def by_depth(self, plans, *_):
        base = np.linspace(0.3, 0.6, 30)
        return [base + 0.02 * len(plan.stages) for plan in plans]

    monkeypatch.setattr(Meter, "likelihood", by_depth)
    monkeypatch.setattr(Meter, "answers", by_depth)
    found = swiftprof.search_plan(bundled, made_profile, **SMALL)
    assert found.search is not None
    assert found.search.better
    assert len(found.stages) > 3
    assert "found by search" in found.notes[-1]
    assert found.expected.tflops is not None


@pytest.mark.parametrize("equal", ["flops", "tokens"])
def test_a_search_tries_the_preset_as_the_planner_fills_it(
    bundled, made_profile, monkeypatch, equal
):
    tried = []

    def remember(self, plans, *_):
        tried.extend(plans)
        return [np.linspace(0.3, 0.6, 30) for _ in plans]

    monkeypatch.setattr(Meter, "likelihood", remember)
    monkeypatch.setattr(Meter, "answers", remember)
    swiftprof.search_plan(bundled, made_profile, **SMALL, equal=equal)
    paper = swiftprof.plan(made_profile, ratio=0.3, bootstrap=0)
    budget = {"ratio": 0.3} if equal == "tokens" else {"flops": paper.expected.tflops}
    text = made_profile.text_tokens
    wanted = plan_preset("often", bundled.info, bundled.decoder_shape, text, **budget)

    def like(plan):
        return plan.options == wanted.options and all(
            each.layer == other.layer
            and each.keep + each.merge == pytest.approx(other.keep + other.merge, abs=0.02)
            for each, other in zip(plan.stages, wanted.stages, strict=False)
        )

    assert any(map(like, tried))


def test_bad_input_is_refused_before_anything_runs(bundled, made_profile, monkeypatch):
    for runs in ("_likelihoods", "_answered"):
        monkeypatch.setattr(Meter, runs, lambda *_: pytest.fail("ran"))
    for wrong, named in (
        ({"limit": "soon"}, "search"),
        ({"equal": "speed"}, "equal"),
        ({"samples": 4}, "needs 10"),
        ({"ratio": 0.01}, "smallest possible"),
        ({"retain": 20.0}, "only one of them"),
    ):
        with pytest.raises(SwiftprofError, match=named):
            swiftprof.search_plan(bundled, made_profile, **{**SMALL, **wrong})


def test_where_the_paper_has_no_plan_the_preset_takes_its_place(bundled, made_profile, monkeypatch):
    monkeypatch.setattr(Meter, "likelihood", lambda self, plans, *_: [np.ones(30) for _ in plans])
    monkeypatch.setattr(Meter, "answers", lambda self, plans, *_: [np.ones(30) for _ in plans])
    tight = {**SMALL, "ratio": 0.12}  # three full layers of 24 are 0.125
    with pytest.raises(SwiftprofError, match="smallest possible"):
        swiftprof.plan(made_profile, ratio=0.12)
    found = swiftprof.search_plan(bundled, made_profile, **tight)
    assert found.options == {"first": "before", "spread": 0.35}
    assert found.notes[0].startswith("no plan of the paper's")


def test_a_block_that_runs_out_of_memory_is_measured_in_parts(bundled, monkeypatch):
    dataset = get_datasets(["scenes-qa"])[0]
    drawn = [Drawn(dataset, "train", tuple(range(5)), (), ())]
    plan = plan_preset("often", bundled.info, ratio=0.3)
    whole = Meter(bundled, drawn, Store(None, {})).likelihood([plan], 1, lambda: None)

    def short(model, inputs, *rest):
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("too much at once")
        return run_shared(model, inputs, *rest)

    monkeypatch.setattr(measure, "run_shared", short)
    parts = Meter(bundled, drawn, Store(None, {})).likelihood([plan], 1, lambda: None)
    assert len(parts[0]) == 5
    assert np.allclose(whole[0], parts[0], atol=1e-4)


def test_what_candidates_share_runs_once(bundled, monkeypatch):
    dataset = get_datasets(["scenes-qa"])[0]
    drawn = [Drawn(dataset, "train", tuple(range(5)), (), ())]
    first, second = (plan_preset("often", bundled.info, ratio=r) for r in (0.3, 0.25))
    fresh = Meter(bundled, drawn, Store(None, {})).likelihood([second], 1, lambda: None)
    meter = Meter(bundled, drawn, Store(None, {}))
    meter.likelihood([first], 1, lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(measure, "run_shared", lambda *_: pytest.fail("ran again"))
        again = meter.likelihood([second], 1, lambda: None)
    assert np.array_equal(fresh[0], again[0])

    earlier = first.model_copy(update={"stages": (Stage(layer=1, keep=0.3),), "options": {}})
    assert len(meter.likelihood([earlier], 1, lambda: None)[0]) == 5  # begins at another layer

    monkeypatch.setattr(measure, "ROOM", 0)
    meter, runs = Meter(bundled, drawn, Store(None, {})), []
    monkeypatch.setattr(measure, "run_shared", lambda *a: (runs.append(a), run_shared(*a))[1])
    for plan in (first, second):
        meter.likelihood([plan], 1, lambda: None)
    assert len(runs) == 2
