"""The rules of plan.json that types alone do not express, and pydantic's complaints as one line."""

from __future__ import annotations

from pydantic import ValidationError

from swiftprof import __version__
from swiftprof.methods import REGISTRY, method_class

FORMAT = "swiftprof.plan/1"


def first_error(error: ValidationError) -> str:
    """The first complaint of pydantic as `stages[1].keep: what is wrong (got 1.2)`."""
    detail = error.errors(include_url=False)[0]
    field = ""
    for part in detail["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f"{'.' if field else ''}{_short(part)}"
    if detail["type"] == "extra_forbidden":
        return f"{field}: no such field"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = detail.get("input")
    got = (
        f" (got {_short(value)})"
        if isinstance(value, int | float | str) and detail["type"] != "value_error"
        else ""
    )
    return f"{field}: {message}{got}" if field else f"{message}{got}"


def _short(value: object) -> str:
    """A key or value from a file that may come from anyone, in one line."""
    return str(value)[:60].encode("unicode_escape").decode()


def check_format(value: object) -> None:
    """Refuse what is not a plan of this version. Raises ValueError."""
    if value != FORMAT:
        raise ValueError(
            f"schema: {str(value)[:60]!r} is not {FORMAT!r}, which swiftprof {__version__} reads; "
            "plan again"
        )


def earliest_layer(method: str) -> int:
    """Least layer of a method's first stage.

    Layer 0 is "before the decoder", where methods that prune the image features start. A method of
    a later version may be one.
    """
    return method_class(method).earliest if method in REGISTRY else 0
