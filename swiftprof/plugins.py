"""Methods, model families and data sets of other packages: the one way in.

An installed package names them as entry points of the groups `swiftprof.methods`,
`swiftprof.models` and `swiftprof.datasets`; anybody may name one as `module:Class`. Here other
people's code runs for the first time, so whatever it raises, `SystemExit` included, becomes one
line that names the plug-in, and what it prints goes to stderr, never into a document on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from swiftprof.errors import SwiftprofError


class PluginError(SwiftprofError):
    """A plug-in is missing or broken."""


def installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name; nothing is imported. Of two with one name the first counts.

    Examples:
        >>> installed("swiftprof.nothing")
        {}
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return found


def read_entry_point(point: EntryPoint, what: str) -> object:
    """What an entry point names.

    Args:
        point: one of `installed`.
        what: the kind of plug-in, as "method", for messages.

    Raises:
        PluginError: importing it fails in any way.
    """
    with contained(described(point, what)):
        return point.load()


def described(point: EntryPoint, what: str) -> str:
    """A plug-in in a message: what it is, its name and where it comes from."""
    package = f" of the package {point.dist.name}" if point.dist is not None else ""
    return f"{what} '{point.name}'{package} ({point.value})"


def read_reference(reference: str, what: str) -> object:
    """What `module:Class` names.

    Only what Python can import already is found: neither the current folder nor the folder of a
    plan is searched, so that reading a file from elsewhere never runs code that lies beside it.

    Raises:
        PluginError: no such module, nothing of this name in it, or importing it fails.
    """
    import importlib

    module, _, path = reference.partition(":")
    where = f"{what} '{reference}'"
    if "<locals>" in path:
        raise PluginError(
            f"{where} was defined inside a function and cannot be loaded by name: define it at the "
            "top level of a module"
        )
    names = path.split(".")
    if not all(part.isidentifier() for part in (*module.split("."), *names)):
        raise PluginError(f"{where}: give it as module:Class, for example my_package.mine:Mine")
    with contained(where):
        try:
            found: object = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # the plug-in is there, and what it imports is missing
            raise PluginError(f"{where}: {_missing(module)}") from None
        for name in names:
            if not hasattr(found, name):
                raise PluginError(f"{where}: {_without(module, path)}")
            found = getattr(found, name)
        return found


def _missing(module: str) -> str:
    here = Path(*module.split("."))
    if here.with_suffix(".py").is_file() or here.is_dir():
        return f"{here} lies in this folder, where Python does not look: set PYTHONPATH=."
    return f"there is no module '{module}' here: install the package that has it"


def _without(module: str, path: str) -> str:
    if module == "__main__":
        return f"'{path}' lived in another script or notebook: put it into a module and plan again"
    return f"the module has no '{path}': update the package, or correct the name"


@contextmanager
def staying(what: str) -> Iterator[None]:
    """Run other people's code while a model runs: it may fail, but not end the process.

    Errors pass as they are, so that a device out of memory is still seen as that.

    Args:
        what: begins the message.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise PluginError(f"{what} is broken: {type(error).__name__}") from error


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Run other people's code: its failures become a `PluginError`, its prints go to stderr.

    A `SwiftprofError` passes as it is, it says what to do; so does Ctrl-C.

    Args:
        what: begins the message.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (SwiftprofError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise PluginError(f"{what} is broken: {type(error).__name__}: {first}") from error
