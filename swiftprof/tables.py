"""A table is built once, of texts, and shown on a terminal, in Markdown and in HTML.

Cells may come from strangers' files. Each form escapes what would be markup there, and characters
that nobody can see are shown as such, so that no cell can move a cursor or open a tag.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

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
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    note: str = ""
    left: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        wrong = next((row for row in self.rows if len(row) not in (1, len(self.columns))), None)
        if wrong is not None:
            raise ValueError(f"a row has {len(wrong)} cells, the table {len(self.columns)} columns")

    def terminal(self) -> RenderableType:
        """For `rich`."""
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=None, pad_edge=False, header_style="dim")
        for number, column in enumerate(self.columns):
            side = "left" if number in self.left else "right"
            fold = number in self.left
            grid.add_column(
                Text(visible(column)),
                justify=side,  # type: ignore[arg-type]
                overflow="fold",
                min_width=min(32, self._width(number)) if fold else None,
            )
        for row in self.rows:
            if len(row) < len(self.columns):
                grid.add_row(Text(visible(row[0]), style="bold"))
            else:
                grid.add_row(*(Text(visible(cell)) for cell in row))
        parts: list[RenderableType] = [Text(visible(self.title), style="bold")] * bool(self.title)
        parts.append(grid)
        if self.note:
            parts.append(Text(visible(self.note), style="dim"))
        return Group(*parts)

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

    def html(self) -> str:
        """The element ``<table>``, without title and note."""
        sides = ["" if n in self.left else ' class="number"' for n in range(len(self.columns))]
        head = "".join(
            f'<th scope="col"{side}>{html_text(cell)}</th>'
            for side, cell in zip(sides, self.columns, strict=True)
        )
        body = []
        for row in self.rows:
            if len(row) < len(self.columns):
                whole = f'<th scope="rowgroup" colspan="{len(self.columns)}">'
                body.append(f"<tr>{whole}{html_text(row[0])}</th></tr>")
                continue
            cells = [
                f"<td{side}>{html_text(cell)}</td>" for side, cell in zip(sides, row, strict=True)
            ]
            body.append(f"<tr>{''.join(cells)}</tr>")
        rows = "\n".join(body)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"

    def _width(self, number: int) -> int:
        cells = [row[number] for row in self.rows if number < len(row)]
        return max(map(len, [self.columns[number], *cells]))


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
