"""`swiftprof merge`: one profile of what several shards wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftprof.cli.options import JsonOpt
from swiftprof.cli.output import Output

EXAMPLES = (
    "swiftprof merge profiles/shared",
    "swiftprof merge node1/profile node2/profile --out profiles/whole",
)


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders that the shards wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the whole.", show_default="the first folder")
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Bring the parts of shards together and write the curve.

    All folders must hold parts of the same run: same model, data, samples and settings. Parts
    that are damaged do not count.
    """
    output = Output(json)
    from swiftprof.cli.profile import show_done
    from swiftprof.profiling.api import merge_shards

    raise typer.Exit(show_done(output, merge_shards(folders, out)))
