"""Results of an evaluation on a terminal: averages and costs first, then the sets."""

from __future__ import annotations

from swiftprof.cli.output import Output, plain
from swiftprof.evaluation.results import Results
from swiftprof.evaluation.table import how, ladder_note, tables

SET_WIDTH = 18
"""Columns that the scores of a data set take."""


def show_eval(output: Output, results: Results) -> None:
    """The tables, as many data sets side by side as fit, and how the scores came about."""
    beside = max(1, (output.width - 20) // SET_WIDTH)
    for table in tables(results, beside):
        output.print(table.terminal())
        output.print()
    for name, text in how(results).items():
        output.print(f"[dim]{plain(name)} {plain(text)}[/dim]")
    if note := ladder_note(results):
        output.print(f"[dim]{plain(note)}[/dim]")
