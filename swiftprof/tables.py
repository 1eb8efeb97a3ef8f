"""A table is built once, of texts, and shown on a terminal, in Markdown and in HTML.

Cells may come from strangers' files. Each form escapes what would be markup there, and characters
that nobody can see are shown as such, so that no cell can move a cursor or open a tag.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult

_LEAST = 12
"""Characters that a column of text keeps on a narrow terminal."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#])")


@dataclass(frozen=True)
class Table:
    """Rows of texts; numbers are formatted where they are understood.

    Attributes:
        columns: headings.
        rows: cells. A row of one cell is a heading of the rows below it.
        title: above the table.
        note: below it.
        left: numbers of the columns that hold text; the others hold numbers, hence to the right.
        marked: numbers of the rows that stand out on a terminal.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    note: str = ""
    left: tuple[int, ...] = (0,)
    marked: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        wrong = next((row for row in self.rows if len(row) not in (1, len(self.columns))), None)
        if wrong is not None:
            raise ValueError(f"a row has {len(wrong)} cells, the table {len(self.columns)} columns")

    def terminal(self) -> RenderableType:
        """For `rich`: columns of text give way, in lines of their own, before a number is cut."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [Text(visible(self.title), style="bold")] * bool(self.title)
        parts.append(self)
        if self.note:
            parts.append(Text(visible(self.note), style="dim"))
        return Group(*parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The rows, in columns that are equally wide under all headings."""
        from rich.table import Table as Grid
        from rich.text import Text

        widths = [self._width(n) for n in range(len(self.columns))]
        free = options.max_width - sum(widths) - 2 * (len(widths) - 1)
        for n in self.left:
            give = min(max(0, -free), max(0, widths[n] - _LEAST))
            widths[n], free = widths[n] - give, free + give
        while free < 0 and max(widths) > 4:  # then the widest are told in several lines
            widths[widths.index(max(widths))] -= 1
            free += 1

        def grid(rows: Sequence[tuple[str | None, tuple[str, ...]]], head: bool) -> Grid:
            out = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            out.show_header = head
            for n, column in enumerate(self.columns):
                side: JustifyMethod = "left" if n in self.left else "right"
                name = Text(visible(column))
                out.add_column(name, justify=side, overflow="fold", width=widths[n])
            for style, row in rows:
                out.add_row(*(Text(visible(cell)) for cell in row), style=style)
            return out

        pending: list[tuple[str | None, tuple[str, ...]]] = []
        head = True
        for number, row in enumerate(self.rows):
            if len(row) < len(self.columns):
                if pending or head:
                    yield grid(pending, head)
                pending, head = [], False
                yield Text(visible(row[0]), style="bold")
            else:
                pending.append(("bold green" if number in self.marked else None, row))
        yield grid(pending, head)

    def markdown(self) -> str:
        """A table of GitHub's kind, without an end of line at the end."""
        width = len(self.columns)
        rule = "|".join("---" if n in self.left else "---:" for n in range(width))
        lines = [_line([markdown_text(c) for c in self.columns]), f"|{rule}|"]
        for row in self.rows:
            cells = [markdown_text(cell) for cell in row]
            if len(row) < width:
                cells = [f"**{cells[0]}**", *[""] * (width - 1)]
            lines.append(_line(cells))
        if self.title:
            lines = [f"**{markdown_text(self.title)}**", "", *lines]
        return "\n".join([*lines, *(["", markdown_text(self.note)] if self.note else [])])

    def html(self, css: str = "") -> str:
        """The element ``<table>``, without title and note. Columns of text have the class `text`.

        Args:
            css: class of the table.
        """
        sides = [' class="text"' if n in self.left else "" for n in range(len(self.columns))]
        head = "".join(
            f'<th scope="col"{side}>{html_text(cell)}</th>'
            for side, cell in zip(sides, self.columns, strict=True)
        )
        body = []
        for row in self.rows:
            if len(row) < len(self.columns):
                scope = f'scope="rowgroup" class="heading" colspan="{len(self.columns)}"'
                body.append(f"<tr><th {scope}>{html_text(row[0])}</th></tr>")
                continue
            first, *cells = (html_text(cell) for cell in row)
            rest = "".join(
                f"<td{side}>{cell}</td>" for side, cell in zip(sides[1:], cells, strict=True)
            )
            body.append(f'<tr><th scope="row">{first}</th>{rest}</tr>')
        rows = "\n".join(body)
        kind = f' class="{html_text(css)}"' if css else ""
        return f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"

    def _width(self, number: int) -> int:
        cells = [row[number] for row in self.rows if len(row) == len(self.columns)]
        return max(map(len, [self.columns[number], *cells]))


def times(speedup: float | None) -> str:
    """How many times as fast as vanilla, `2.13×`: above 1 is faster, everywhere."""
    return "–" if speedup is None else f"{speedup:.2f}×"


def percent(share: float, digits: int = 0) -> str:
    """0.333 as `33 %`."""
    return f"{100 * share:.{digits}f} %"


def signed(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}"


def shares(shown: int, names: Sequence[str]) -> dict[str, int]:
    """How many of the samples that are shown are each data set's."""
    least, more = divmod(shown, len(names))
    return {name: least + (number < more) for number, name in enumerate(names)}


def samples_text(datasets: Mapping[str, int]) -> str:
    """`300 samples of each of a, b` or `300 of a, 20 of b`."""
    if not datasets:
        return ""
    counts = set(datasets.values())
    if len(counts) == 1:
        each = "" if len(datasets) == 1 else "each of "
        return f"{counts.pop()} samples of {each}{', '.join(datasets)}"
    return ", ".join(f"{count} of {name}" for name, count in datasets.items())


def flops_unit(tflops: float) -> tuple[str, Callable[[float], str]]:
    """TFLOPs, or GFLOPs where a cost is as small as this one; and how a cost in TFLOPs is shown."""
    unit, factor = ("TFLOPs", 1) if tflops >= 0.1 else ("GFLOPs", 1000)
    return unit, lambda value: f"{factor * value:.3g}"


def visible(text: str) -> str:
    """Text in one line whose every character can be printed anywhere."""
    one = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one)


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", visible(text)).replace("&", "&amp;")


def html_text(text: str) -> str:
    """Text that HTML shows as it is."""
    return html.escape(visible(text))


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
