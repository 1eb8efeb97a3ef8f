"""Exit codes, and how every failure becomes one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from swiftprof.cli.output import one_line, option
from swiftprof.errors import BadParameter, SwiftprofError

DONE = 0
UNEXPECTED = 1
BAD_INPUT = 2
SOME_FAILED = 3
INTERRUPTED = 130
_SPELLINGS = {"--dataset": "--datasets", "--limit": "--samples"}
"""Other spellings of options."""


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code.

    Bad input is one line on stderr and code 2, an interruption code 130. `--debug`, anywhere before
    a `--`, lets the traceback through instead.
    """
    arguments, debug = _take_debug(arguments)
    arguments = [_SPELLINGS.get(each, each) for each in arguments]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a bar that a terminal lacks is no reason to die
    try:
        result = app(args=list(arguments), prog_name="swiftprof", standalone_mode=False)
    except typer.Exit as stop:
        result = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        if debug:
            raise
        result = INTERRUPTED
    except BrokenPipeError:  # `swiftprof … | head`: nobody reads on, and that is all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except SwiftprofError as error:
        if debug:
            raise
        _say(f"error: {error.told(option) if isinstance(error, BadParameter) else error}")
        return BAD_INPUT
    except Exception as error:
        if debug:
            raise
        if hasattr(error, "format_message"):  # typer's own complaints about the arguments
            _say(f"error: {_usage_message(error)}")
            return BAD_INPUT
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _say(f"error: unexpected {what}; type the command again with --debug to see where")
        return UNEXPECTED
    code = result if isinstance(result, int) else DONE
    if code == INTERRUPTED:  # typer turns the exception into the code on its own
        _say("interrupted; type the same command again to go on")
    return code


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [each for each in arguments[:end] if each != "--debug"]
    return [*kept, *arguments[end:]], len(kept) < end


def _usage_message(error: Any) -> str:
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "swiftprof"
    return f"{message}; see {command} --help"


def _say(message: str) -> None:
    print("swiftprof: " + one_line(message), file=sys.stderr)
