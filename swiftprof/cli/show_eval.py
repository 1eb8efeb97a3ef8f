"""Results of an evaluation on a terminal: averages and costs first, then the sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from swiftprof.cli.output import Output
from swiftprof.evaluation.table import (
    NAMES,
    budget_title,
    flops_unit,
    ladder_note,
    tokens,
    verdict,
)

COSTS_WIDTH = 28
"""Columns that tokens, FLOPs and time take."""
SETS = 5
"""Data sets side by side."""
WIDE = 100
"""Columns from which the average over all sets is shown too."""


def show_eval(output: Output, results: Mapping[str, Any]) -> None:
    """A table per budget; methods that differ from the reference are marked."""
    groups = [name for name, sets in results["groups"].items() if sets]
    if len(groups) == 2 or output.width < WIDE:
        groups = [g for g in groups if g != "overall"]
    unit, factor = flops_unit(results)
    first = results["rows"][0]["seconds"]
    longest = max(len(row["label"]) for row in results["rows"])
    least = min(longest, max(12, output.width - COSTS_WIDTH - 14 * len(groups)))
    for budget in dict.fromkeys(row["budget"] for row in results["rows"]):
        mine = [row for row in results["rows"] if row["budget"] == budget]
        output.print(f"[bold]{budget_title(mine[0], results['settings'])}[/bold]")
        table = _table("", *(NAMES[g] for g in groups), "tokens", unit, "time", least=least)
        for row in mine:
            table.add_row(
                row["label"],
                *(_average(results, row, group) for group in groups),
                tokens(row),
                f"{factor * row['tflops']:.3g}",
                f"{row['seconds'] / first:.2f}×" if first else "–",
            )
        output.print(table)
        output.print()
    _show_sets(output, results)
    settings = results["settings"]
    counts = sorted(set(results["samples"].values()))
    number = " to ".join(str(c) for c in dict.fromkeys((counts[0], counts[-1])))
    output.print()
    for name, text in settings["protocol"].items():
        output.print(f"[dim]{name} {settings['splits'][name]}: {text}[/dim]")
    note = ladder_note(results)
    if note:
        output.print(f"[dim]{note}[/dim]")
    against = dict.fromkeys(t["reference"] for t in results["tests"])
    if against:
        output.print(
            f"[dim]▼ worse, ▲ better than {', '.join(against)} at the same budget (paired test, "
            "p < 0.05 after Holm's correction); no mark: within noise[/dim]"
        )
    output.print(
        f"[dim]{number} samples a set. Averages: score relative to vanilla in %, ± half the 95 % "
        f"interval; tokens: visual tokens averaged over layers; {unit}: prefill; time: generate() "
        "against vanilla's, in turns[/dim]"
    )


def _show_sets(output: Output, results: Mapping[str, Any]) -> None:
    names = list(results["samples"])
    budgets = list(dict.fromkeys(r["budget"] for r in results["rows"]))
    for start in range(0, len(names), SETS):
        part = names[start : start + SETS]
        table = _table("score", *part, least=12)
        for budget in budgets:
            for row in (r for r in results["rows"] if r["budget"] == budget):
                label = row["label"] + (f", {budget}" if budget else "")
                table.add_row(label, *(f"{row['scores'][n]['score']:.3f}" for n in part))
        output.print(table)


def _average(results: Mapping[str, Any], row: Mapping[str, Any], group: str) -> str:
    mark = {"worse": " ▼", "better": " ▲", "": ""}[
        verdict(results["tests"], row["label"], row["budget"], group)
    ]
    found = row["averages"][group]
    if found is None:
        return "–"
    half = 50 * (found["high"] - found["low"])
    return f"{100 * found['value']:.1f}" + (f" ±{half:.1f}" if half else "") + (mark or "  ")


def _table(first: str, *columns: str, least: int) -> Table:
    """A table whose first column gives way (in lines of its own) before a number is cut."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, min_width=least, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
