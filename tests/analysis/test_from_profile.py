"""Analyses that only read a profile: the curve and the stability of the plan."""

from __future__ import annotations

from typing import Any

import pytest

from swiftprof.analysis.curve import Curves
from swiftprof.analysis.stability import Resampled
from swiftprof.planning.api import plan as make_plan
from swiftprof.planning.curve import Curve, combine
from swiftprof.planning.program import solve
from swiftprof.profiling.store import Profile
from swiftprof.tiny import bundled_profiles


def test_the_curve_is_the_profiles_with_an_interval_around_it(made_profile: Any) -> None:
    data = Curves.of(made_profile, (3, 7, 11))
    stored = made_profile.summary.curve
    assert data.x == pytest.approx([stored[str(layer)] for layer in data.layers])
    assert all(a <= x <= b for a, x, b in zip(data.low, data.x, data.high, strict=True))
    own = [sum(each) / len(each) for each in zip(*data.per_dataset.values(), strict=True)]
    assert own == pytest.approx(data.x, abs=1e-5)
    said = data.describe()
    assert "Layer 11 of 24 tells visual tokens apart best" in said.findings[0]
    marks = {row[0]: row[-1] for row in said.tables[0].rows}
    assert {layer for layer, mark in marks.items() if "record" in mark} == {"3", "7", "11"}
    assert {layer for layer, mark in marks.items() if "plan" in mark} == {"3", "7", "11"}


def test_stability_agrees_with_the_plans_own_numbers(made_profile: Any) -> None:
    data = Resampled.of(made_profile, 2, replicates=200)
    plan = make_plan(made_profile, 2, bootstrap=200)
    assert tuple(data.best.layers) == plan.pruning_layers
    assert data.stability == plan.stability
    assert data.best.same == data.stability.plan_frequency


def test_more_pruning_layers_never_reach_less(made_profile: Any) -> None:
    data = Resampled.of(made_profile, 3, replicates=50)
    areas = [data.base, *(b.area for b in data.budgets)]
    assert areas == sorted(areas)
    found = Curve(made_profile.model.num_layers, made_profile.layers, combine(made_profile.samples))
    assert data.budgets[-1].layers == list(solve(found, found.num_layers).layers)


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


def test_no_path_of_this_machine_is_told_of_the_bundled_profile() -> None:
    (_, folder), *_ = sorted(bundled_profiles().items())
    found = Curves.of(Profile.load(folder))
    assert found.profile == folder.name
    assert str(folder.parent) not in found.describe().measured
