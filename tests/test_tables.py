"""A table says the same in all its forms, and none of its cells is markup in any of them."""

from __future__ import annotations

import html
import io
from html.parser import HTMLParser

import pytest
from rich.console import Console

from swiftprof.tables import Table

HOSTILE = [
    "<b>x</b>",
    "a | b",
    "[red]r[/red]",
    "*bold*",
    "`code`",
    "&amp;",
    "\\|",
    "\x1b[31mred",
    "x\ny",
]


def seen_on_terminal(table: Table, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, force_terminal=False, width=width).print(table.terminal())
    return out.getvalue()


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and data.strip():
            self.cells[-1] += data


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_markup(text):
    table = Table(("name", "value"), ((text, "1"),), title=text, note=text)
    shown = " ".join(text.split()).replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    assert seen_on_terminal(table).count(shown) == 3
    parsed = Cells()
    parsed.feed(table.html())
    assert set(parsed.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert parsed.cells[2] == shown
    row = table.markdown().splitlines()[4]
    assert unescaped(row) == ["", f" {shown} ", " 1 ", ""]


def unescaped(row: str) -> list[str]:
    """Cells of a Markdown row, split at bars that no backslash stands before."""
    cells, escaped = [""], False
    for c in row:
        if escaped:
            cells[-1] += c
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == "|":
            cells.append("")
        elif c in "<>*`[]":
            raise AssertionError(f"{c!r} is markup in {row!r}")
        else:
            cells[-1] += c
    return [html.unescape(each) for each in cells]


def test_headings_between_rows_span_all_columns():
    table = Table(("method", "score"), (("Retain 192",), ("fastv", "0.5")))
    assert "**Retain 192** |  |" in table.markdown()
    assert 'colspan="2">Retain 192<' in table.html()
    assert "Retain 192" in seen_on_terminal(table)


def test_numbers_are_whole_on_a_narrow_terminal():
    table = Table(("method", "a", "b"), (("a-very-long-name-of-a-method" * 2, "12.345", "0.678"),))
    shown = seen_on_terminal(table, width=40)
    assert "12.345" in shown
    assert "0.678" in shown


def test_columns_stand_below_each_other_under_all_headings_however_narrow():
    rows = (("First",), ("a", "100.0 % [91.7, 100.0]"), ("Second",), ("b" * 30, "1"))
    shown = seen_on_terminal(Table(("method", "score"), rows), width=24).splitlines()
    first, second = (next(line for line in shown if line.startswith(c)) for c in ("a ", "bb"))
    assert (first.split(), second.split()[1:]) == (["a", "100.0", "%"], ["1"])
    assert len(first.rstrip()) == len(second.rstrip())


def test_rows_must_fit():
    with pytest.raises(ValueError, match="3 cells"):
        Table(("a", "b"), (("1", "2", "3"),))
