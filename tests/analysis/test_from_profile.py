"""Analyses that only read a profile: the curve and the stability of the plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swiftprof.analysis.curve import Curves
from swiftprof.analysis.stability import Resampled, subsampled_curves
from swiftprof.planning.api import plan as make_plan
from swiftprof.planning.curve import Curve, combine
from swiftprof.planning.program import solve


def test_the_curve_is_the_profiles_with_an_interval_around_it(made_profile: Any) -> None:
    data = Curves.of(made_profile, (3, 7, 11))
    stored = made_profile.summary.curve
    assert data.combined.x == pytest.approx([stored[str(layer)] for layer in data.layers])
    for line in (data.combined, *data.per_dataset.values()):
        triples = zip(line.low, line.x, line.high, strict=True)
        assert all(low <= x <= high for low, x, high in triples)
    said = data.describe()
    assert "Layer 11 tells visual tokens apart best" in said.findings[0]
    marks = {row[0]: row[-1] for row in said.tables[0].rows}
    assert {layer for layer, mark in marks.items() if "record" in mark} == {"3", "7", "11"}
    assert {layer for layer, mark in marks.items() if "plan" in mark} == {"3", "7", "11"}


def test_stability_agrees_with_the_plans_own_numbers(made_profile: Any) -> None:
    data = Resampled.of(made_profile, 2, replicates=200)
    plan = make_plan(made_profile, 2, bootstrap=200)
    assert tuple(data.plan) == plan.pruning_layers
    assert plan.stability is not None
    stored = {k: v for k, v in plan.stability.layer_frequency.items() if v}
    assert data.frequency == stored
    assert data.regret == plan.stability.regret
    same = next(share for layers, share in data.sets if layers == data.plan)
    assert same == pytest.approx(plan.stability.plan_frequency, abs=1e-4)


def test_more_pruning_layers_never_reach_less(made_profile: Any) -> None:
    data = Resampled.of(made_profile, 3, replicates=50)
    areas = [data.base, *(b.area for b in data.budgets)]
    assert areas == sorted(areas)
    found = Curve(made_profile.model.num_layers, made_profile.layers, combine(made_profile.samples))
    assert data.budgets[-1].layers == list(solve(found, found.num_layers).layers)


def test_plans_from_all_samples_lose_nothing_and_from_fewer_never_gain(made_profile: Any) -> None:
    whole = subsampled_curves(made_profile.samples, 30, 3, 0)
    assert np.allclose(whole, combine(made_profile.samples))
    data = Resampled.of(made_profile, 3, replicates=50)
    assert [s.samples for s in data.sizes] == [10, 20]
    assert all(s.regret >= 0 and s.p95 >= 0 for s in data.sizes)


def test_a_profile_shows_itself_in_a_notebook(made_profile: Any) -> None:
    frame = made_profile.dataframe
    assert list(frame["layer"]) == list(made_profile.layers)
    assert frame["x"].to_numpy() == pytest.approx(made_profile.curve.x)
    assert (frame["low"] <= frame["x"]).all()
    assert (frame["x"] <= frame["high"]).all()
    names = list(made_profile.samples)
    assert frame[names].mean(axis=1).to_numpy() == pytest.approx(made_profile.curve.x, abs=1e-6)
    (axes,) = made_profile.plot().axes
    assert "60 samples" in axes.get_title(loc="left")
    assert "data:image/png;base64," in made_profile._repr_html_()
