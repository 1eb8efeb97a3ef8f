"""`swiftprof`: the program. A command is one file here and one line in `COMMANDS`."""

from __future__ import annotations

import gc
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from swiftprof import __version__
from swiftprof.cli import errors

START, STEPS, WHY = "Start here", "Profile, plan, run", "Compare and explain"
COMMANDS = {
    "demo": (START, "demo:demo"),
    "doctor": (START, "doctor:doctor"),
    "models": (START, "models:models"),
    "datasets": (START, "datasets:datasets"),
    "profile": (STEPS, "profile:profile"),
    "merge": (STEPS, "merge:merge"),
    "plan": (STEPS, "plan:plan"),
    "run": (STEPS, "run:run"),
    "serve": (STEPS, "serve:serve"),
    "eval": (WHY, "evaluate:evaluate"),
    "analyze": (WHY, "analyze:group"),
    "report": (WHY, "report:report"),
    "bench": (WHY, "bench:bench"),
    "flops": (WHY, "flops:flops"),
    "share": (WHY, "share:share"),
}
"""Name → panel of the help, and the function in a file here."""


def build(only: str = "") -> typer.Typer:
    """The command line. Importing a command's file must stay cheap.

    Args:
        only: the command that is going to run, so that no other file is read; all by default.
    """
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
    for name in [only] if only in COMMANDS else COMMANDS:
        panel, place = COMMANDS[name]
        file, _, function = place.partition(":")
        module = importlib.import_module(f"swiftprof.cli.{file}")
        if name == "analyze":
            app.add_typer(module.group(_add), name=name, rich_help_panel=panel)
        else:
            _add(app, getattr(module, function), module.EXAMPLES, name=name, panel=panel)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code (0 done, 2 bad input, 3 some samples failed, 130)."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return errors.run(build(given[0] if given else ""), given)


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


_TYPES = {"str": "TEXT", "int": "N", "float": "X", "path": "PATH", "list[str]": "TEXT"}


class _Plain:
    """Options show what they take in one short word, and flags nothing."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            elif param.param_type_name == "option" and param.metavar is None:
                param.metavar = _TYPES.get(param.bare_type().lower())
        return params


class Command(_Plain, TyperCommand):
    """A command with plain help."""


class Group(_Plain, TyperGroup):
    """A group of commands with plain help; they stand in the order in which they were added."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def paragraphs(command: Callable[..., Any]) -> str:
    """A docstring whose paragraphs are one line each: the terminal breaks them where it must."""
    text = inspect.cleandoc(command.__doc__ or "")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def epilog(examples: Sequence[str]) -> str:
    """The examples below a command's help."""
    lines = "\n\n".join(f"  [cyan]{line}[/cyan]" for line in examples)
    return f"[bold]Examples[/bold]\n\n{lines}"
