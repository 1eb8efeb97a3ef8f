"""A profile folder as a section: what was run, the curve with the plan, samples."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swiftprof.analysis.curve import ANALYSIS, Curves
from swiftprof.analysis.document import samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.drawing import schedule_figure
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.store import Profile
from swiftprof.report.drawing import drawing, drawn
from swiftprof.report.images import Album
from swiftprof.report.page import Card, Said, Section, short
from swiftprof.tables import Table

_COLUMNS = (
    "id", "kind", "question", "answers", "prediction", "score", "rerun_prediction", "rerun_score",
)  # fmt: skip


def read_profile(folder: Path, shown: int, album: Album) -> tuple[list[Section], list[Card], int]:
    """Sections, the first samples of each data set, and how many samples there are.

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
    data = Curves.of(profile, layers)
    said = data.describe()
    title = f"{profile.model.name}: {ANALYSIS.title.lower()}"
    sections = [
        Section(
            kind="profile",
            title=title,
            findings=said.findings,
            facts=_facts(profile),
            measured=said.measured,
            figures=[drawing(data, "Capability of every layer, with its 95 % interval.", "c-")],
            tables=said.tables,
            commands=[_command(profile)],
            headline=_headline(profile, data),
        )
    ]
    if plan is not None:
        sections.append(plan_section(plan, folder))
    cards, total = _cards(profile, layers, shown, album)
    return sections, cards, total


def plan_section(plan: Plan, folder: Path, prefix: str = "p-") -> Section:
    """A plan: where it prunes and what that costs."""
    visual, expected = plan.model.visual_tokens, plan.expected
    rows = [
        (
            f"{plan.first if number == 0 else 'before'} layer {stage.layer}",
            _tokens(stage.keep, visual),
            _tokens(stage.merge, visual),
        )
        for number, stage in enumerate(plan.stages)
    ]
    facts = [("method", plan.method)]
    layers = ", ".join(map(str, plan.pruning_layers))
    costs = []
    if expected.retained_tokens is not None:
        costs.append(f"{expected.retained_tokens:.4g} of {visual} visual tokens on average")
    if expected.tflops is not None and expected.tflops_vanilla:
        share = percent(expected.tflops / expected.tflops_vanilla)
        costs.append(f"{share} of the unpruned model's prefill FLOPs")
    if expected.area is not None:
        facts.append(("area P", f"{expected.area:.4f}"))
    sure = ""
    if plan.stability is not None and plan.stability.plan_frequency is not None:
        same, count = percent(plan.stability.plan_frequency), plan.stability.bootstrap
        sure = f" {same} of {count} resamples of its samples give the same layers."
    kept = f", which leaves {' and '.join(costs)}" if costs else ""
    headline = f"The plan prunes {plan.model.name} at layers {layers}{kept}.{sure}"
    arguments = ["swiftprof", "plan", str(folder)]
    if plan.budget is not None:
        arguments += ["--budget", str(plan.budget.layers)]
        if plan.budget.retain is not None:
            arguments += ["--retain", f"{plan.budget.retain:.4g}"]
    caption = "Visual tokens that enter each layer."
    return Section(
        kind="plan",
        title=f"Pruning layers {layers}",
        findings=[headline, *plan.notes],
        facts=facts,
        figures=[drawn(schedule_figure({plan.method: plan}), caption, prefix)] if rows else [],
        tables=[Table(columns=("stage", "kept visual tokens", "merged tokens"), rows=tuple(rows))],
        commands=[shlex.join(arguments)],
        headline=headline,
        download=("plan.json", data_url(plan.to_json().encode("utf-8", "replace"))),
    )


def _headline(profile: Profile, data: Curves) -> str:
    found, best = data.combined, data.layers[data.combined.best]
    low, high = (100 * each[found.best] for each in (found.low, found.high))
    return (
        f"{profile.model.name} was profiled on {samples_text(data.datasets)}: layer {best} tells "
        f"important visual tokens apart best, its top {percent(data.keep)} alone keep "
        f"{percent(found.x[found.best], 1)} [{low:.1f}, {high:.1f}] of the score."
    )


def data_url(content: bytes) -> str:
    """A JSON file inside the page."""
    return f"data:application/json;base64,{base64.b64encode(content).decode('ascii')}"


def _tokens(share: float, visual: int | None) -> str:
    return percent(share, 1) if visual is None else f"{share * visual:.0f} ({percent(share, 1)})"


def _facts(profile: Profile) -> list[tuple[str, str]]:
    summary, settings = profile.summary, profile.summary.settings
    versions = ", ".join(f"{name} {version}" for name, version in summary.versions.items())
    visual = profile.model.visual_tokens
    return [
        ("model", f"{profile.model.name}, {profile.model.num_layers} layers"),
        ("visual tokens", str(visual) if visual is not None else "as many as the image asks for"),
        ("samples", f"{samples_text(summary.samples)}, seed {settings.seed}"),
        ("selection", f"top {percent(profile.keep)} of the visual tokens"),
        ("score", "likelihood of the answer" if settings.score == "nll" else "of the answer"),
        ("arithmetic", f"{settings.dtype}, {settings.attention}"),
        ("made", f"{summary.created} in {summary.seconds:.0f} s"),
        ("versions", versions),
        ("folder", str(profile.path)),
    ]


def _command(profile: Profile) -> str:
    settings = profile.summary.settings
    parts = ["swiftprof", "profile", "--model", settings.model.name]
    parts += ["--datasets", ",".join(settings.again()), "--samples", str(settings.samples)]
    parts += ["--keep", f"{settings.keep:g}", "--seed", str(settings.seed)]
    return shlex.join([*parts, "--out", str(profile.path)])


def _cards(
    profile: Profile, layers: Sequence[int], shown: int, album: Album
) -> tuple[list[Card], int]:
    wanted = [i for i in dict.fromkeys((BASE_LAYER, *layers)) if i in profile.layers]
    names = profile.datasets
    settings = profile.summary.settings
    likelihood = settings.score == "nll"
    cards: list[Card] = []
    for number, name in enumerate(names):
        room = shown // len(names) + (number < shown % len(names))
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
                Said(name, f"likelihood {score:.3f}" if likelihood else short(text), score)
                for name, text, score in given
            ]
            cards.append(
                Card(
                    run=str(profile.path),
                    dataset=name,
                    id=short(row["id"], 200),
                    kind=short(row["kind"], 100),
                    question=short(row["question"]),
                    answers=[short(a, 200) for a in dict.fromkeys(row["answers"])][:10],
                    said=said,
                    image=image,
                )
            )
    return cards, sum(profile.summary.samples.values())
