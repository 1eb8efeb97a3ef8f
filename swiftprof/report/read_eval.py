"""An evaluation folder as a section: the table, the tests, samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swiftprof.analysis.document import samples_text
from swiftprof.analysis.pareto import Front
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.read import read_results
from swiftprof.evaluation.table import NAMES, flops_unit, interval, p_text, tokens
from swiftprof.files import read_json_object
from swiftprof.report.drawing import drawing
from swiftprof.report.images import Album
from swiftprof.report.page import Card, Drawing, Said, Section, short
from swiftprof.tables import Table

MAX_BYTES = 1 << 26
SIGNIFICANT = 0.05
MANY = 2
"""Budgets up to which the findings name every group of data sets."""
MOST_LINES = 14
"""Methods up to which lines over budgets can be told apart."""
MOST_ROWS = 500_000
"""Answers of a part that are read at most."""


def read_eval(
    folder: Path, shown: int, album: Album, prefix: str = "eval-"
) -> tuple[list[Section], list[Card], int]:
    """A section, the first samples of each data set, and how many samples there are.

    Raises:
        SwiftprofError: not an evaluation, or a damaged one.
    """
    results = read_results(folder)
    settings = results["settings"]
    facts = [
        ("model", f"{settings['model']['name']}, {settings['model']['num_layers']} layers"),
        ("samples", f"{samples_text(results['samples'])}, seed {settings['seed']}"),
        ("splits", ", ".join(f"{n} {s}" for n, s in settings["splits"].items())),
        ("arithmetic", f"{settings['dtype']}, {settings['attention']}"),
        ("versions", ", ".join(f"{n} {v}" for n, v in results["versions"].items())),
        ("folder", str(folder)),
    ]
    facts += [(f"protocol of {name}", text) for name, text in settings["protocol"].items()]
    skipped = {name: len(each) for name, each in results["skipped"].items() if each}
    facts += [(f"skipped of {name}", f"{count} samples") for name, count in skipped.items()]
    section = Section(
        kind="evaluation",
        title=f"{settings['model']['name']}: methods at equal numbers of visual tokens",
        findings=_findings(results),
        facts=[(name, value) for name, value in facts if value.strip(", ")],
        measured="Averages: score relative to the unpruned model, mean over data sets, with 95 % "
        "intervals of a paired bootstrap. Tokens: visual tokens that really entered a layer, "
        f"averaged over layers. FLOPs of the prefill: {results['formula']}.",
        figures=_figures(results, prefix),
        tables=[t for t in (_scores(results), _averages(results), _tests(results)) if t.rows],
        commands=[results["command"]] if results["command"] else [],
    )
    cards, total = _cards(folder, results, shown, album)
    return [section], cards, total


def _figures(results: Mapping[str, Any], prefix: str) -> list[Drawing]:
    try:
        data = Front.of(results)
    except SwiftprofError:
        return []
    return [drawing(data, "Score of each method, with its 95 % interval.", prefix)]


def _findings(results: Mapping[str, Any]) -> list[str]:
    """Per budget and group: whom the tests tell apart from the reference. Where there are many
    budgets, the average over all sets alone; the table has the rest."""
    out = []
    tests = results["tests"]
    budgets = list(dict.fromkeys(t["budget"] for t in tests))
    groups = list(dict.fromkeys(t["group"] for t in tests))
    for budget in budgets:
        for group in groups if len(budgets) <= MANY else groups[-1:]:
            here = [t for t in tests if (t["budget"], t["group"]) == (budget, group)]
            if not here:
                continue
            reference = here[0]["reference"]
            sure = [t for t in here if t["p_holm"] < SIGNIFICANT]
            worse = [t["method"] for t in sure if t["difference"]["value"] < 0]
            better = [t["method"] for t in sure if t["difference"]["value"] > 0]
            same = [t["method"] for t in here if t["p_holm"] >= SIGNIFICANT]
            named = (
                (f"worse than {reference}", worse),
                (f"better than {reference}", better),
                ("not told apart from it", same),
            )
            parts = [f"{word}: {', '.join(each)}" for word, each in named if each]
            keeps = _keeps(results, budget, reference, group)
            out.append(f"{budget}, {NAMES.get(group, group)}: {keeps}{'; '.join(parts)}.")
    return out


def _keeps(results: Mapping[str, Any], budget: str, method: str, group: str) -> str:
    """How much of the unpruned score a method keeps, as the start of a sentence."""
    for row in results["rows"]:
        found = row["averages"].get(group)
        if (row["budget"], row["label"]) == (budget, method) and found:
            return f"{method} keeps {100 * found['value']:.1f} % of the unpruned score; "
    return ""


def _scores(results: Mapping[str, Any]) -> Table:
    names = list(results["samples"])
    rows = []
    for row in results["rows"]:
        cells = []
        for name in names:
            found = row["scores"].get(name)
            if found is None:
                cells.append("–")
                continue
            relative = found["relative"]
            share = f" ({100 * relative['value']:.1f} %)" if relative else ""
            cells.append(f"{found['score']:.3f}{share}")
        rows.append((row["label"], row["budget"] or "all tokens", *cells))
    return Table(
        title="Scores, and their share of the unpruned model's",
        columns=("method", "budget", *names),
        rows=tuple(rows),
    )


def _averages(results: Mapping[str, Any]) -> Table:
    groups = [name for name, sets in results["groups"].items() if sets]
    if len(groups) == 2:
        groups = [g for g in groups if g != "overall"]
    unit, factor = flops_unit(results)
    return Table(
        title="Averages relative to the unpruned model [95 % interval], and costs",
        columns=("method", "budget", *(NAMES.get(g, g) for g in groups), "tokens", unit),
        rows=tuple(
            (
                row["label"],
                row["budget"] or "all tokens",
                *(interval(row["averages"].get(g)) for g in groups),
                tokens(row),
                f"{factor * row['tflops']:.3g}",
            )
            for row in results["rows"]
        ),
    )


def _tests(results: Mapping[str, Any]) -> Table:
    return Table(
        title="Paired tests",
        columns=("budget", "method", "against", "on", "difference, points", "p", "p (Holm)"),
        rows=tuple(
            (
                t["budget"],
                t["method"],
                t["reference"],
                NAMES.get(t["group"], t["group"]),
                f"{100 * t['difference']['value']:+.1f} "
                f"[{100 * t['difference']['low']:+.1f}, {100 * t['difference']['high']:+.1f}]",
                p_text(t["p"]),
                p_text(t["p_holm"]),
            )
            for t in results["tests"]
        ),
        note="Signs of the paired differences are flipped at random; p (Holm) is corrected over "
        "the methods of a budget.",
    )


def _cards(
    folder: Path, results: Mapping[str, Any], shown: int, album: Album
) -> tuple[list[Card], int]:
    """Samples from the parts; none where the folder has no parts."""
    names = list(results["samples"])
    total = sum(results["samples"].values())
    drawn = _draw(folder)
    budgets = {row["budget"] for row in results["rows"] if row["budget"]}
    only = f" | {budgets.pop()}" if len(budgets) == 1 else None
    cards: list[Card] = []
    for number, name in enumerate(names):
        room = shown // len(names) + (number < shown % len(names))
        samples: dict[int, list[dict[str, Any]]] = {}
        for part in sorted((folder / "parts").glob(f"{_glob(name)}-[0-9]*.parquet")):
            if len(samples) >= room:
                break
            for row in _rows(part):
                samples.setdefault(row["place"], []).append(row)
        places = sorted(samples)[:room]
        firsts = [samples[place][0] for place in places]
        indices = drawn.get(name, [])
        known = [indices[p] for p in places if 0 <= p < len(indices)]
        split = results["settings"]["splits"].get(name, "")
        images = album.find(name, split, known, [str(r["id"]) for r in firsts])
        for place, first, image in zip(places, firsts, images, strict=True):
            said = [
                Said(_name(r["variant"], only), short(r["prediction"]), float(r["score"]))
                for r in sorted(samples[place], key=lambda r: r["variant"] != VANILLA)
            ]
            cards.append(
                Card(
                    run=str(folder),
                    dataset=name,
                    id=short(first["id"], 200),
                    kind=short(first["kind"], 100),
                    question=short(first["question"]),
                    answers=[short(a, 200) for a in dict.fromkeys(first["answers"])][:10],
                    said=said,
                    image=image,
                )
            )
    return cards, total


def _name(variant: object, only: str | None) -> str:
    """A variant's name; a budget that all of them have is not said again and again."""
    name = str(variant)
    name = name.removesuffix(only) if only is not None else name.replace(" | ", ", ")
    return short(name, 200)


def _rows(part: Path) -> list[dict[str, Any]]:
    columns = ["variant", "place", "id", "kind", "question", "answers", "prediction", "score"]
    try:
        table = pq.read_table(part, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException, KeyError) as error:
        first = str(error).splitlines()[0]
        raise SwiftprofError(f"{part}: not a readable part ({first})") from error
    found: list[dict[str, Any]] = table.slice(0, MOST_ROWS).to_pylist()
    return found


def _draw(folder: Path) -> dict[str, list[int]]:
    try:
        document = read_json_object(folder / "run.json", "run", MAX_BYTES)
    except SwiftprofError:
        return {}
    drawn = document.get("draw")
    if not isinstance(drawn, dict):
        return {}
    return {
        str(name): indices
        for name, indices in drawn.items()
        if isinstance(indices, list) and all(isinstance(i, int) for i in indices)
    }


def _glob(name: str) -> str:
    """A data set's name in a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
