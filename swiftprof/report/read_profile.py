"""A profile folder as a part of a page: what was run, the curve with the plan, samples."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftprof.analysis.curve import ANALYSIS, Curves
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.drawing import schedule_figure
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.store import Profile
from swiftprof.report.images import Album
from swiftprof.report.page import Card, Drawing, Page, Said, Section, run_facts, short, typed
from swiftprof.tables import Table, percent, shares

_COLUMNS = (
    "id", "kind", "question", "answers", "prediction", "score", "rerun_prediction", "rerun_score",
)  # fmt: skip


def read_profile(folder: Path, shown: int, album: Album) -> Page:
    """Sections and the first samples of each data set.

    Args:
        folder: of a finished profile; its `plan.json`, if there is one, is shown too.
        shown: samples in all.
        album: finds images.

    Raises:
        SwiftprofError: not a profile, or a damaged one.
    """
    profile = Profile.load(folder)
    plan = Plan.load(folder / "plan.json") if (folder / "plan.json").is_file() else None
    layers = plan.pruning_layers if plan is not None else ()
    settings = profile.summary.settings
    again = ("--datasets", ",".join(settings.again()), "--samples", settings.samples)
    command = typed(
        "profile", "--model", settings.model.name, *again, "--keep", f"{settings.keep:g}",
        "--seed", settings.seed, "--out", folder,
    )  # fmt: skip
    sections = [replace(profile_section(profile, layers, str(folder)), command=command)]
    if plan is not None:
        sections.append(plan_section(plan, str(folder)))
    total = sum(profile.summary.samples.values())
    return Page(sections=sections, cards=_cards(profile, layers, shown, album), total=total)


def profile_section(profile: Profile, layers: Sequence[int], where: str) -> Section:
    """A profile: its curve, with the layers of a plan marked.

    Args:
        where: what the profile is called: its folder, or where it was published.
    """
    summary, visual = profile.summary, profile.model.visual_tokens
    settings = summary.settings
    data = Curves.of(profile, tuple(layers), where)
    said = data.describe()
    facts = [
        ("visual tokens", str(visual) if visual is not None else "as many as the image asks for"),
        ("selection", f"top {percent(profile.keep)} of the visual tokens"),
        ("score", "likelihood of the answer" if settings.score == "nll" else "of the answer"),
        ("made", f"{summary.created} in {summary.seconds:.0f} s"),
    ]
    return Section(
        kind="profile",
        title=f"{profile.model.name}: {ANALYSIS.title.lower()}",
        findings=said.findings,
        facts=run_facts(settings, summary.samples, summary.versions, where) + facts,
        measured=said.measured,
        figures=[Drawing.of(data.plot(), "Capability of every layer, with its interval.", "c-")],
        tables=said.tables,
        headline=said.findings[0],
    )


def plan_section(plan: Plan, where: str, prefix: str = "p-") -> Section:
    """A plan: where it prunes and what that costs. `where`: what it can be made from again."""
    visual, expected = plan.model.visual_tokens, plan.expected
    rows = tuple(
        (
            f"{plan.first if number == 0 else 'before'} layer {stage.layer}",
            _tokens(stage.keep, visual),
            _tokens(stage.merge, visual),
        )
        for number, stage in enumerate(plan.stages)
    )
    layers = ", ".join(map(str, plan.pruning_layers))
    costs = []
    if expected.retained_tokens is not None:
        costs.append(f"{expected.retained_tokens:.4g} of {visual} visual tokens on average")
    if expected.tflops is not None and expected.tflops_vanilla:
        share = percent(expected.tflops / expected.tflops_vanilla)
        costs.append(f"{share} of the unpruned model's prefill FLOPs")
    sure = ""
    if plan.stability is not None and plan.stability.plan_frequency is not None:
        same, count = percent(plan.stability.plan_frequency), plan.stability.bootstrap
        sure = f" {same} of {count} resamples of its samples give the same layers."
    kept = f", which leaves {' and '.join(costs)}" if costs else ""
    headline = f"The plan prunes {plan.model.name} at layers {layers}{kept}.{sure}"
    budget = plan.budget
    again = ["--budget", budget.layers] if budget else []
    again += ["--retain", f"{budget.retain:.4g}"] if budget and budget.retain is not None else []
    figure = schedule_figure(plan)
    content = base64.b64encode(plan.to_json().encode("utf-8", "replace")).decode("ascii")
    return Section(
        kind="plan",
        title=f"Pruning layers {layers}",
        findings=[headline, *plan.notes],
        facts=[
            ("method", plan.method),
            ("area P", "" if expected.area is None else f"{expected.area:.4f}"),
        ],
        figures=[Drawing.of(figure, "Visual tokens that enter each layer.", prefix)]
        if rows
        else [],
        tables=[Table(columns=("stage", "kept visual tokens", "merged tokens"), rows=rows)],
        command=typed("plan", where, *again),
        headline=headline,
        download=("plan.json", f"data:application/json;base64,{content}"),
    )


def _tokens(share: float, visual: int | None) -> str:
    return percent(share, 1) if visual is None else f"{share * visual:.0f} ({percent(share, 1)})"


def _cards(profile: Profile, layers: Sequence[int], shown: int, album: Album) -> list[Card]:
    wanted = [i for i in dict.fromkeys((BASE_LAYER, *layers)) if i in profile.layers]
    settings, cards = profile.summary.settings, list[Card]()
    likelihood = settings.score == "nll"
    for name, room in shares(shown, profile.datasets).items():
        rows: list[dict[str, Any]] = profile.rows(name, _COLUMNS).slice(0, room).to_pylist()
        split, drawn = settings.splits[name], profile.summary.draw[name]
        images = album.find(settings.given.get(name, name), split, drawn, [r["id"] for r in rows])
        for row, image in zip(rows, images, strict=True):
            given = [("unpruned", row["prediction"], row["score"])]
            for layer in wanted:
                at = settings.layers.index(layer)
                again = row["rerun_prediction"][at], row["rerun_score"][at]
                given.append((f"layer {layer}'s selection", *again))
            said = [
                # without decoding there is no answer to show, only how likely the right one is
                Said(method, f"likelihood {score:.3f}" if likelihood else short(text), score)
                for method, text, score in given
            ]
            cards.append(Card.of(str(profile.path), name, row, said, image))
    return cards
