"""`swiftprof analyze`: why a plan works, or does not. Each command is made from its analysis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from swiftprof.cli.errors import DONE, SOME_FAILED
from swiftprof.cli.options import (
    DataOptions,
    DataRootOpt,
    DatasetsOpt,
    JsonOpt,
    LoadOptions,
    ProfileOpt,
    grouped,
)
from swiftprof.cli.output import Output, check_out

if TYPE_CHECKING:
    from swiftprof.analysis.base import Analysis, Subject
    from swiftprof.analysis.document import Document
    from swiftprof.models.loading import VLM

FOLDER = Path("analyses")
"""Where analyses are written by default, relative to the working directory."""

OutOpt = Annotated[
    Path, typer.Option("--out", help="Folder for the figure (PNG) and table (JSON, Markdown).")
]


@dataclass(frozen=True)
class Read:
    """What every analysis reads and writes."""

    profile: ProfileOpt = None
    out: OutOpt = FOLDER
    json: JsonOpt = False


@dataclass(frozen=True)
class Data:
    """What an analysis that runs a model asks."""

    datasets: DatasetsOpt = None
    data_root: DataRootOpt = None


def group(add: Callable[..., None]) -> typer.Typer:
    """The sub-commands; `add` registers one with its examples. They are made when one of them is
    asked for, as their files import more than the program's help has time for."""

    class Lazy(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            if not self.commands:
                self.commands = typer.main.get_group(_commands(add)).commands
            return list(self.commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            self.list_commands(ctx)
            return super().get_command(ctx, cmd_name)

    app = typer.Typer(cls=Lazy, rich_markup_mode="rich")
    app.callback(invoke_without_command=True)(_start)
    return app


def _commands(add: Callable[..., None]) -> typer.Typer:
    from swiftprof.analysis import NAMES, analysis

    app = typer.Typer(rich_markup_mode="rich")
    for name in NAMES:
        kind = analysis(name)
        add(app, _command(kind), kind.examples, name=name)
    examples = ("swiftprof analyze all", "swiftprof analyze all --samples 20 --out quick")
    add(app, _all(), examples, name="all")
    return app


def _start(context: typer.Context, json: JsonOpt = False) -> None:
    """Why does a plan work, or not? Each analysis writes a figure and a table."""
    if context.invoked_subcommand is not None:
        return
    from swiftprof.analysis import NAMES, analysis

    output, known = Output(json), {name: analysis(name) for name in NAMES}
    rows = [
        {"name": n, "title": a.title, "question": a.question(), "needs": a.needs}
        for n, a in known.items()
    ]
    output.document({"analyses": rows})
    for row in rows:
        output.print(f"[bold]{row['name']:10}[/bold] {row['question']}")
        output.print(f"{'':10} [dim]needs {row['needs']}[/dim]")
    output.print(
        "\nRun one with swiftprof analyze NAME, or each of them with swiftprof analyze all.\n"
        f"Figures and tables go to {FOLDER}/; swiftprof report {FOLDER} makes one page of them."
    )


def _command(kind: type[Analysis]) -> Callable[..., None]:
    """The command of one analysis: its own options, and how model, profile and data are found."""

    def with_model(load: LoadOptions, asked: Any, data: Data, read: Read) -> None:
        _run([asked], load, data, read)

    def from_profile(asked: Any, read: Read) -> None:
        _run([asked], LoadOptions(), Data(), read)

    command = with_model if kind.runs else from_profile
    command.__annotations__ |= {"asked": kind}
    command.__doc__ = kind.__doc__
    return grouped()(command)


def _all() -> Callable[..., None]:
    """`analyze all`: the options that most analyses have, None for each one's own default."""
    from swiftprof.analysis import NAMES, analysis
    from swiftprof.analysis.base import AtBudget

    def command(load: LoadOptions, asked: Any, data: Data, read: Read) -> None:
        """Run every analysis with its defaults, one after the other.

        Without --samples each analysis takes as many as when it runs alone. What is finished stays:
        a later failure loses nothing.
        """
        given = {f.name: v for f in fields(asked) if (v := getattr(asked, f.name)) is not None}
        made = []
        for name in NAMES:
            kind = analysis(name)
            known = {f.name for f in fields(kind)}
            made.append(kind(**{n: v for n, v in given.items() if n in known}))
        _run(made, load, data, read)

    command.__annotations__ |= {"asked": AtBudget}
    return grouped(samples=None)(command)


def _run(asked: Sequence[Analysis], load: LoadOptions, data: Data, read: Read) -> None:
    """Measure, write, show, one analysis after the other."""
    output = Output(read.json)
    subject = _subject(output, load, data, read)
    documents: list[Document] = []
    code = DONE
    for each in asked:
        document = each.document(subject)
        document.save(read.out)
        documents.append(document)
        _show(output, document, read.out, short=len(asked) > 1)
        for name, count in document.data.get("skipped", {}).items():
            output.warn(f"{document.analysis}: {count} samples of {name} skipped, they are broken")
            code = SOME_FAILED
    if len(asked) == 1:
        output.document({"path": str(read.out), **documents[0].to_dict()})
    else:
        output.document({"path": str(read.out), "analyses": [d.to_dict() for d in documents]})
        output.print("\nWrote {out}/", out=read.out)
        output.next("report", read.out, "--out", "report.html")
    raise typer.Exit(code)


def _show(output: Output, document: Document, out: Path, short: bool) -> None:
    output.print("[bold]{title}[/bold]", title=document.title)
    for each in document.findings:
        output.print("• {finding}", finding=each)
    output.print()
    if short:
        return
    output.tables(*document.tables)
    output.print("\n[dim]{measured}[/dim]", measured=document.measured)
    output.print("\nWrote {out}/{name}.png, .json and .md", out=out, name=document.analysis)
    output.next("report", out)


def _subject(output: Output, load: LoadOptions, data: Data, read: Read) -> Subject:
    """Model, profile and data of an analysis, by the rule of `resolve`."""
    from swiftprof.analysis.base import Subject
    from swiftprof.cli.resolve import newest_profile, read_profile, resolve

    check_out(read.out, folder=True)
    asked = DataOptions(datasets=data.datasets, data_root=data.data_root)
    named = read.profile and read_profile(read.profile)
    profile = named or newest_profile(resolve(load).source.name)
    chosen = resolve(load, asked, profile=profile)

    def loaded() -> VLM:
        return chosen.load_model(output)

    return Subject(profile, loaded, chosen.datasets, read.out, output.progress)
