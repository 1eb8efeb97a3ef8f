"""Score against retained tokens: methods over budgets, and which of them are worth their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.settings import VariantSettings
from swiftprof.evaluation.specs import Planner, Spec, TargetText
from swiftprof.evaluation.table import NAMES

SAME = 0.005
"""Shares of retained tokens that differ by less are the same."""


class Point(BaseModel):
    """One method at one budget.

    Attributes:
        retained: visual tokens that were really there, averaged over layers and samples.
        share: the same as a fraction of all.
        averages: group of data sets -> (score relative to the unpruned model, low, high).
        on_front: groups in which no other point has as much score for fewer tokens.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    budget: str
    retained: float
    share: float
    tflops: float
    averages: dict[str, tuple[float, float, float]]
    on_front: list[str] = []


class Data(BaseModel):
    """What was measured.

    Attributes:
        groups: group -> its data sets; a group without sets is left out.
        left_out: methods that a budget is impossible for, with the reason.
    """

    model_config = ConfigDict(frozen=True)

    visual_tokens: int | None
    datasets: dict[str, int]
    groups: dict[str, list[str]]
    points: list[Point]
    left_out: list[str] = []
    formula: str = ""


def variants(
    planner: Planner, specs: Sequence[Spec], targets: Sequence[TargetText]
) -> tuple[list[VariantSettings], list[str]]:
    """Every possible pair of method and budget, and why the others are not.

    Raises:
        SwiftprofError: not one is possible.
    """
    found: dict[str, VariantSettings] = {}
    impossible: list[str] = []
    for target in targets:
        for spec in specs:
            try:
                made = planner.variants([spec], [target])
            except SwiftprofError as error:
                impossible.append(str(error))
                continue
            found |= {each.name: each for each in made}
    if set(found) <= {VANILLA}:
        raise SwiftprofError(impossible[0] if impossible else "`methods`: name one that prunes")
    return list(found.values()), impossible


def read(results: Mapping[str, Any], left_out: Sequence[str] = ()) -> Data:
    """From the results of an evaluation.

    Raises:
        SwiftprofError: results without a relative score.
    """
    groups = {name: list(sets) for name, sets in results["groups"].items() if sets}
    if len(groups) == 2:  # one kind of set: `overall` repeats it
        groups.pop("overall", None)
    points = []
    for row in results["rows"]:
        averages = {
            name: (each["value"], each["low"], each["high"])
            for name, each in row["averages"].items()
            if name in groups and each is not None
        }
        points.append(
            Point(
                method=row["label"],
                budget=row["budget"],
                retained=row["retained"]["mean"],
                share=row["retained"]["share"],
                tflops=row["tflops"],
                averages=averages,
            )
        )
    if not any(p.averages for p in points):
        raise SwiftprofError(
            "evaluation: the unpruned model scores 0, so no score is relative to it"
        )
    on = {name: front(points, name) for name in groups}
    marked = [
        p.model_copy(update={"on_front": [name for name in groups if n in on[name]]})
        for n, p in enumerate(points)
    ]
    return Data(
        visual_tokens=results["settings"]["model"]["visual_tokens"],
        datasets=results["samples"],
        groups=groups,
        points=marked,
        left_out=list(left_out),
        formula=results.get("formula", ""),
    )


def front(points: Sequence[Point], group: str) -> set[int]:
    """Numbers of the points that no other dominates: with as much score for fewer tokens, or with
    more score for no more. Shares of tokens that differ by less than `SAME` are the same: counts
    are whole numbers, so budgets are never met exactly."""
    known = [
        (n, p.share, p.averages[group][0]) for n, p in enumerate(points) if group in p.averages
    ]

    def dominated(share: float, score: float) -> bool:
        return any(
            (t < share - SAME and s >= score) or (t <= share + SAME and s > score)
            for _, t, s in known
        )

    return {n for n, share, score in known if not dominated(share, score)}


def describe(data: Data) -> Description:
    """The front in words."""
    findings = []
    for group, sets in data.groups.items():
        on = [p for p in data.points if group in p.on_front and p.method != VANILLA]
        methods = _counted(p.method for p in on)
        findings.append(
            f"{NAMES.get(group, group).capitalize()} ({', '.join(sets)}): pruned methods on the "
            f"Pareto front: {', '.join(methods) if methods else 'none'}."
        )
        for budget in dict.fromkeys(p.budget for p in data.points if p.budget):
            here = [p for p in data.points if p.budget == budget and group in p.averages]
            top = max(p.averages[group][0] for p in here)
            first = [p for p in here if p.averages[group][0] == top]
            value, low, high = first[0].averages[group]
            close = [p.method for p in here if p not in first and p.averages[group][2] >= low]
            best = " and ".join(p.method for p in first)
            found = (
                f"At {budget}: {best} keep{'' if len(first) > 1 else 's'} most, "
                f"{percent(value, 1)} [{100 * low:.1f}, {100 * high:.1f}]"
            )
            if close:
                found += f"; intervals overlap with {', '.join(close)}"
            findings.append(found + ".")
    findings += [f"Left out: {reason}" for reason in data.left_out]
    unit, factor = ("TFLOPs", 1) if data.points[0].tflops >= 0.1 else ("GFLOPs", 1000)
    table = Table(
        title="Score relative to the unpruned model [95 % interval]",
        columns=("method", "budget", "tokens", unit, *(NAMES.get(g, g) for g in data.groups)),
        rows=tuple(
            (
                p.method,
                p.budget,
                f"{p.retained:.1f} ({percent(p.share)})",
                f"{factor * p.tflops:.3g}",
                *(_cell(p, group) for group in data.groups),
            )
            for p in data.points
        ),
        note="●: on the Pareto front, no other point has as much score for fewer tokens.",
    )
    measured = (
        f"Greedy answers to {samples_text(data.datasets)}, the same for all methods. Tokens: "
        f"visual tokens that really entered a layer, averaged over layers. FLOPs: {data.formula}."
    )
    return Description(measured, tuple(findings), (table,))


def _cell(point: Point, group: str) -> str:
    if group not in point.averages:
        return "–"
    value, low, high = point.averages[group]
    mark = " ●" if group in point.on_front else ""
    return f"{percent(value, 1)} [{100 * low:.1f}, {100 * high:.1f}]{mark}"


def _counted(names: Iterable[str]) -> list[str]:
    """`name (2 budgets)`, in the order of first appearance."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return [f"{n} ({c} budget{'s' if c > 1 else ''})" for n, c in counts.items()]
