"""Exit codes, and how every failure becomes one line."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from swiftprof.cli.output import Output, one_line, option
from swiftprof.errors import BadParameter, SwiftprofError

if TYPE_CHECKING:
    from swiftprof.data.asking import Skipped

DONE = 0
UNEXPECTED = 1
BAD_INPUT = 2
SOME_FAILED = 3
INTERRUPTED = 130
_SPELLINGS = {"--dataset": "--datasets", "--limit": "--samples"}
"""Other spellings of options."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a file that the output goes to."""


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
        with _ended_like_interrupted():
            result = app(args=list(arguments), prog_name="swiftprof", standalone_mode=False)
            sys.stdout.flush()
    except typer.Exit as stop:
        result = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        if debug:
            raise
        result = INTERRUPTED
    except BrokenPipeError:  # `swiftprof … | head`: nobody reads on, and that is all
        _forget_stdout()
        return DONE
    except SwiftprofError as error:
        if debug:
            raise
        _say(f"error: {error.told(option) if isinstance(error, BadParameter) else error}")
        return BAD_INPUT
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            _forget_stdout()
            _say(f"error: cannot write the output ({error.strerror}); what was measured stays")
            return BAD_INPUT
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


def _forget_stdout() -> None:
    """Let what is still to be written go nowhere, so that no complaint follows at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: bars give the cursor back, finished parts stay."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [each for each in arguments[:end] if each != "--debug"]
    return [*kept, *arguments[end:]], len(kept) < end


def _usage_message(error: Any) -> str:
    message = error.format_message().strip().rstrip(".").replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "swiftprof"
    return f"{message}; see {command} --help"


def _say(message: str) -> None:
    print("swiftprof: " + one_line(message), file=sys.stderr)


NAMED = 5


def show_skipped(
    output: Output,
    skipped: Mapping[str, Sequence[Skipped]],
    used: Mapping[str, int],
    where: str,
    left_out: Mapping[str, str],
) -> int:
    """Warn of skipped samples and of data sets left out; the exit code.

    Args:
        skipped: data set → its broken samples.
        used: data set → samples that were used.
        where: where all reasons are, for messages.
        left_out: data set → why it is not in the results.
    """
    code = SOME_FAILED if left_out else DONE
    for name, why in left_out.items():
        output.warn(f"{name}: left out: {why}")
    for name, each in skipped.items():
        if not each:
            continue
        code = SOME_FAILED
        output.warn(f"{name}: {len(each)} of {len(each) + used.get(name, 0)} samples skipped")
        for one in each[:NAMED]:
            output.note(f"  {name} {one.index}: {one.reason}")
        if len(each) > NAMED:
            output.note(f"  … and {len(each) - NAMED} more: see {where}")
    return code
