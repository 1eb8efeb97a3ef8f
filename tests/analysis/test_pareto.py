"""The Pareto front, and what is left out of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from swiftprof.analysis.pareto import Front, Pareto
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.drawing import front, front_of
from swiftprof.evaluation.results import SCHEMA, Results, Retained, SetScore, VariantResult
from swiftprof.evaluation.settings import EvalSettings, VariantSettings
from swiftprof.evaluation.statistics import Estimate
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.api import plan as make_plan


def test_a_point_is_on_the_front_unless_another_is_as_good_for_less() -> None:
    chance = random.Random(0)
    for _ in range(30):
        values = {str(n): (chance.randint(1, 6) / 100, chance.randint(1, 6) / 6) for n in range(8)}
        expected = {
            n
            for n, (tokens, score) in values.items()
            if not any(
                (t < tokens and s >= score) or (t <= tokens and s > score)
                for t, s in values.values()
            )
        }
        assert front(values) == expected
        assert expected


def results(rows: list[tuple[str, str, float, float | None]]) -> Results:
    """An evaluation's results with these (method, budget, tokens, score)."""

    def row(label: str, budget: str, tokens: float, score: float | None) -> VariantResult:
        found = None if score is None else Estimate(score, score - 0.1, score + 0.1)
        return VariantResult(
            variant=label,
            label=label,
            budget=budget,
            scores={"a": SetScore(score=score or 0.0)},
            averages={"localization": found, "non_localization": None, "overall": found},
            retained=Retained(mean=tokens, least=tokens, most=tokens, share=tokens / 100),
            tflops=0.001,
            seconds=1.0,
        )

    told = () if rows[0][3] is None else ("a",)  # a set that says nothing is in no group
    settings = EvalSettings(
        model=ModelInfo(name="m", num_layers=8, visual_tokens=100),
        datasets=("a",),
        splits={"a": "test"},
        samples=5,
        variants=(VariantSettings.of("vanilla"),),
    )
    return Results(
        schema=SCHEMA,
        settings=settings,
        groups={"localization": told, "non_localization": (), "overall": told},
        samples={"a": 5},
        rows=tuple(row(*each) for each in rows),
    )


def test_read_from_an_evaluation() -> None:
    data = Front.of(
        results([("vanilla", "", 100, 1.0), ("good", "50 t", 50, 0.9), ("bad", "50 t", 50, 0.5)])
    )
    assert front_of(data.results, "localization", "tokens") == {"vanilla", "good"}
    findings = data.describe().findings
    assert len(findings) == 1  # `overall` would repeat it
    assert "on the Pareto front: good (50 t)." in findings[0]
    with pytest.raises(SwiftprofError, match="scores 0"):
        Front.of(results([("vanilla", "", 100, None)]))


def test_impossible_pairs_are_left_out_and_named(subject: Any) -> None:
    asked = Pareto(methods="drop@20,drop,vanilla", ratio="0.5,0.25")
    found, impossible = asked.variants(subject("scenes-qa"))
    assert {v.name for v in found} == {
        "vanilla",
        "drop | 0.5 of the tokens",
        "drop | 0.25 of the tokens",
    }
    assert len(impossible) == 2
    assert all("drop@20" in reason for reason in impossible)
    with pytest.raises(SwiftprofError, match="drop@20"):
        Pareto(methods="drop@20", ratio="0.5").variants(subject("scenes-qa"))


def test_a_plan_from_a_file_is_a_point_beside_the_methods(
    subject: Any, made_profile: Any, tmp_path: Any
) -> None:
    searched = make_plan(made_profile, 2, ratio=0.2, bootstrap=0).save(tmp_path / "searched.json")
    asked = Pareto(methods=f"drop,{searched}", ratio="0.5,0.25", samples=2, cost="flops")
    data = asked.run(subject("scenes-qa"))
    rows = data.results.rows
    (mine,) = [row for row in rows if row.label == str(searched)]
    assert mine.budget == "own budget"
    assert len(rows) == 4
    figure = data.plot()
    figure.draw_without_rendering()
    assert "searched.json" in {text.get_text() for text in figure.axes[0].texts}
    assert 0 < mine.tflops < rows[0].tflops / 2
