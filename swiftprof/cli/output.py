"""The one sink for what a command says.

Results go to stdout: for people as text and tables, with `--json` as exactly one JSON document.
Everything else, notes, warnings and progress, goes to stderr.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from rich.console import Console

    from swiftprof.tables import Table

_OPTIONS = {"merge_share": "merge", "model_args": "model_arg", "options": "option"}
"""Parameters of the library whose option has another name."""
_PARAMETER = re.compile("`([a-z][a-z0-9_]*)`")
_LONGEST = 600
PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
"""Endings of files that a picture can be drawn into."""

Step = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


def printable(text: str) -> str:
    """Text without anything that could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def plain(text: object) -> str:
    """Text from a file or a person, to stand in rich markup: brackets in it are no markup."""
    from rich.markup import escape

    return escape(printable(str(text)))


def option(parameter: str) -> str:
    """The option that sets a parameter of the library: `batch_size` as `--batch-size`.

    Examples:
        >>> option("merge_share")
        '--merge'
    """
    return "--" + _OPTIONS.get(parameter, parameter).replace("_", "-")


def command(*words: object) -> str:
    """A swiftprof command that can be pasted into a shell, as `command("plan", "a b")`.

    Examples:
        >>> command("plan", "my profile", "--budget", 3)
        "swiftprof plan 'my profile' --budget 3"
    """
    return shlex.join(["swiftprof", *map(str, words)])


def one_line(text: str) -> str:
    """A message as it is printed: one safe line of bounded length, parameters as options."""
    text = _PARAMETER.sub(lambda found: option(found[1]), printable(" ".join(text.split())))
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        text = f"{text[:half].rstrip()} … {text[-half:].lstrip()}"
    return text


def flops_text(*tflops: float) -> str:
    """Costs side by side in one unit, `1.75 of 4.29 TFLOPs`; small models' in GFLOPs."""
    from swiftprof.tables import flops_unit

    unit, scaled = flops_unit(tflops[-1])
    return f"{' of '.join(map(scaled, tflops))} {unit}"


class Output:
    """Where one command writes.

    Args:
        as_json: stdout carries one JSON document and nothing else.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    @cached_property
    def _people(self) -> Console:
        from rich.console import Console

        return Console(highlight=False)

    @cached_property
    def _side(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where there is none."""
        return self._people.width

    def print(self, *what: Any, **values: object) -> None:
        """Print texts with rich markup, or rich renderables, for people; nothing with `--json`.

        Args:
            values: put into the texts' {names}; whatever is in them, it is no markup.
        """
        if not self.as_json:
            safe = {
                name: value if isinstance(value, int | float) else plain(value)
                for name, value in values.items()
            }
            for each in what or ("",):
                self._people.print(each.format(**safe) if safe else each)

    def tables(self, *tables: Table) -> None:
        """Print tables, a line apart, for people; nothing with `--json`."""
        for number, table in enumerate(tables):
            self.print(*[""] * bool(number), table.terminal())

    def next(self, *words: object) -> None:
        """Say which swiftprof command comes next, in one line that can be pasted."""
        if not self.as_json:
            self._people.print(f"Next: {command(*words)}", markup=False, soft_wrap=True)

    def document(self, value: Mapping[str, Any]) -> None:
        """Print the command's result as JSON; nothing without `--json`. Call it once."""
        if self.as_json:
            text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something beside the result, on stderr."""
        self._side.print(one_line(text), markup=False)

    def warn(self, text: str) -> None:
        """Warn on stderr, in one line."""
        self._side.print("swiftprof: warning: " + one_line(text), markup=False)

    @contextmanager
    def progress(self, label: str) -> Iterator[Step]:
        """A bar with the time that is left, on stderr; silent where that is no terminal."""
        if not self._side.is_terminal:
            yield lambda done, total: None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._side, transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def check_out(
    path: Path | None,
    parameter: str = "out",
    *,
    folder: bool = False,
    suffixes: tuple[str, ...] = (),
) -> None:
    """Refuse a path that cannot be written, before the work. Raises SwiftprofError."""
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        raise BadParameter(parameter, path, f"must end in {', '.join(suffixes)}")
    if not folder and (path.is_dir() or not path.name):
        raise BadParameter(parameter, f"{str(path)!r}", "is a folder; give the path of a file")
    if folder and path.exists() and not path.is_dir():
        raise BadParameter(parameter, path, "is a file; give a folder")
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        with TemporaryFile(dir=there if there.is_dir() else there.parent):
            if there.is_file() and there != path:
                raise NotADirectoryError(f"{there} is a file")
    except OSError as error:
        why = error.strerror or error
        raise BadParameter(parameter, path, f"cannot be written ({why}); choose another") from None
