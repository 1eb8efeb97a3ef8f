"""`swiftprof`: the program. A command is one file here and one line in `build`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from swiftprof import __version__
from swiftprof.cli import errors
from swiftprof.cli.help import Command, Group, epilog, paragraphs


def build() -> typer.Typer:
    """The command line with all commands. Importing a command's file must stay cheap."""
    from swiftprof.cli import (
        analyze,
        bench,
        datasets,
        demo,
        doctor,
        evaluate,
        flops,
        merge,
        models,
        plan,
        profile,
        report,
        run,
        serve,
        share,
    )

    app = typer.Typer(
        name="swiftprof",
        cls=Group,
        help="Find the layers at which a vision-language model can prune its visual tokens, and "
        "prune there.",
        epilog="Start with: swiftprof demo",
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True)(_root)
    start = "Start here"
    _add(app, demo.demo, demo.EXAMPLES, panel=start)
    _add(app, doctor.doctor, doctor.EXAMPLES, panel=start)
    _add(app, models.models, models.EXAMPLES, panel=start)
    _add(app, datasets.datasets, datasets.EXAMPLES, panel=start)
    steps = "Profile, plan, run"
    _add(app, profile.profile, profile.EXAMPLES, panel=steps)
    _add(app, merge.merge, merge.EXAMPLES, panel=steps)
    _add(app, plan.plan, plan.EXAMPLES, panel=steps)
    _add(app, run.run, run.EXAMPLES, panel=steps)
    _add(app, serve.serve, serve.EXAMPLES, panel=steps)
    why = "Compare and explain"
    _add(app, evaluate.evaluate, evaluate.EXAMPLES, name="eval", panel=why)
    app.add_typer(analyze.group(_add), name="analyze", rich_help_panel=why)
    _add(app, report.report, report.EXAMPLES, panel=why)
    _add(app, bench.bench, bench.EXAMPLES, panel=why)
    _add(app, flops.flops, flops.EXAMPLES, panel=why)
    _add(app, share.share, share.EXAMPLES, panel=why)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code (0 done, 2 bad input, 3 some samples failed, 130)."""
    return errors.run(build(), sys.argv[1:] if arguments is None else arguments)


def program() -> int:
    """As `main`, for a process of its own: it ends without a last search for garbage, which takes
    a second once torch is loaded."""
    code = main()
    gc.freeze()
    return code


def _add(
    app: typer.Typer,
    command: Callable[..., Any],
    examples: Sequence[str],
    name: str | None = None,
    panel: str | None = None,
) -> None:
    """Register a command, under its function's name by default, with examples below its help."""
    app.command(
        name or command.__name__,
        cls=Command,
        help=paragraphs(command),
        epilog=epilog(examples),
        rich_help_panel=panel,
    )(command)


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    if version:
        typer.echo(f"swiftprof {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        text = context.get_help()  # with rich it is printed by this call, and the text is empty
        if text:
            typer.echo(text)
        raise typer.Exit
