"""The rules of plan.json that types alone do not express, and pydantic's complaints as one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from swiftprof import __version__
from swiftprof.errors import did_you_mean
from swiftprof.methods import REGISTRY, method_class


def first_error(error: ValidationError) -> str:
    """The first complaint of pydantic as `stages[1].keep: what is wrong (got 1.2)`."""
    detail = error.errors(include_url=False)[0]
    field = ""
    for part in detail["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f"{'.' if field else ''}{part}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = detail.get("input")
    got = (
        f" (got {str(value)[:60]!s})"
        if isinstance(value, int | float | str) and detail["type"] != "value_error"
        else ""
    )
    return f"{field}: {message}{got}" if field else f"{message}{got}"


def check_format(value: object) -> None:
    """Refuse what is not a plan of major version 1. Raises ValueError."""
    match = (
        re.fullmatch(r"swiftprof\.plan/(\d{1,6})(\.\d{1,6})?", value)
        if isinstance(value, str)
        else None
    )
    if match is None:
        raise ValueError(f"schema: {str(value)[:60]!r} is not a plan; expected 'swiftprof.plan/1'")
    if match[1] != "1":
        raise ValueError(
            f"schema: version {match[1]} is not known to swiftprof {__version__}, which reads "
            "swiftprof.plan/1; use another version of swiftprof or plan again"
        )


def earliest_layer(method: str) -> int:
    """Least layer of a method's first stage.

    Layer 0 is "before the decoder", where methods that prune the image features start. A method of
    a later version may be one.
    """
    return method_class(method).earliest if method in REGISTRY else 0


def check_no_misspelling(unknown: Iterable[str], known: Sequence[str]) -> None:
    """Refuse an unknown field that is nearly a known one: a slip, and ignoring it loses a setting.

    Raises ValueError.
    """
    for name in unknown:
        if difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            raise ValueError(f"unknown field '{name}'; {did_you_mean(name, known)}")
