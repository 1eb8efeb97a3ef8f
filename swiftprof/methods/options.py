"""Methods' options: reading them from text, and checks that make a slip one clear line."""

from __future__ import annotations

from collections.abc import Iterable

from swiftprof.errors import SwiftprofError, did_you_mean


def one_of(name: str, value: object, known: Iterable[str]) -> None:
    """Refuse a value that is not one of the known words."""
    names = list(known)
    if value not in names:
        raise SwiftprofError(
            f"options.{name}: unknown value {value!r}; {did_you_mean(str(value), names)}"
        )


def whole(name: str, value: object, least: int | None = None) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise SwiftprofError(f"options.{name}: must be an integer, not {value!r}")
    if least is not None and value < least:
        raise SwiftprofError(f"options.{name}: must be at least {least}, not {value}")


def share(name: str, value: object) -> None:
    """Refuse what is not a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SwiftprofError(f"options.{name}: must be a number from 0 to 1, not {value!r}")


def read_value(text: str) -> object:
    """A typed value of an option: true, false, a whole number, a number, or a word."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
