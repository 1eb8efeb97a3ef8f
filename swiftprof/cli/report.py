"""`swiftprof report`: one self-contained HTML page of what other commands have written."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from swiftprof.cli.options import DataRootOpt, JsonOpt
from swiftprof.cli.output import Output

EXAMPLES = (
    "swiftprof report profiles/tiny-llava",
    "swiftprof report evals/tiny-llava-1a2b3c4d --samples 300 --out methods.html",
    "swiftprof report profiles/mine evals/mine analyses --title 'Our model'",
)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of a profile, an evaluation or analyses.", metavar="RUN..."),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="Title.", show_default="the model's name")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples to look at, in all.")] = 120,
    images: Annotated[
        bool,
        typer.Option(
            "--images", help="Show images of all data sets; those not bundled may be downloaded."
        ),
    ] = False,
    data_root: DataRootOpt = None,
    json: JsonOpt = False,
) -> None:
    """Write one HTML page: what was run, curves, tables, figures, samples to filter.

    The file is complete: it loads nothing, opens from disk, and can be sent to others.
    """
    output = Output(json)
    from swiftprof.files import write_text_atomic
    from swiftprof.report.collect import collect
    from swiftprof.report.html import render
    from swiftprof.report.images import Album

    album = Album(every=images, data_root=data_root)
    page = collect(runs, samples=samples, album=album, title=title)
    arguments = ["swiftprof", "report", *map(str, runs), "--out", str(out)]
    arguments += ["--title", title] if title is not None else []
    page.command = shlex.join(arguments)
    text = render(page)
    write_text_atomic(out, text)
    for each in page.left_out:
        output.warn(f"not shown: {each}")
    size = len(text.encode("utf-8"))
    output.document(
        {
            "path": str(out),
            "bytes": size,
            "sections": [{"kind": s.kind, "title": s.title} for s in page.sections],
            "samples_shown": len(page.cards),
            "samples": page.total,
            "not_shown": page.left_out,
        }
    )
    output.print(
        f"Wrote {{out}}: {len(page.sections)} sections, {len(page.cards)} of {page.total} samples, "
        f"{size / 1e6:.1f} MB. Open it in a browser.",
        out=out,
    )
