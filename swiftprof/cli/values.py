"""What is typed on a command line, read as values."""

from __future__ import annotations

from swiftprof.errors import BadParameter
from swiftprof.methods.options import read_value


def split_list(text: str) -> list[str]:
    """`"a, b"` as `["a", "b"]`, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def count_or_auto(parameter: str, text: str) -> int | None:
    """A whole number above 0; None for auto: the program chooses. Raises SwiftprofError."""
    if text == "auto":
        return None
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise BadParameter(parameter, text, "must be a whole number above 0, or auto")


def batch_size(text: str) -> int | None:
    """The value of `--batch-size`; None for auto. Raises SwiftprofError."""
    return count_or_auto("batch_size", text)


def layer_numbers(text: str) -> tuple[int, ...]:
    """`"3, 11"` as layers. Raises SwiftprofError."""
    parts = split_list(text.replace("+", ","))
    if not parts or not all(part.isascii() and part.isdecimal() for part in parts):
        raise BadParameter("layers", text, "must be layer numbers with commas, as 3,11,15")
    return tuple(int(part) for part in parts)


def numbers(parameter: str, text: str | None) -> list[float]:
    """`"192, 128"` or `"1/3"` as numbers; empty for None. Raises SwiftprofError."""
    found = []
    try:
        for part in split_list(text or ""):
            above, sign, below = part.partition("/")
            found.append(float(above) / float(below) if sign else float(above))
    except (ValueError, ZeroDivisionError):
        raise BadParameter(parameter, text, "must be numbers, as 192 or 1/3") from None
    if text is not None and not found:
        raise BadParameter(parameter, None, "no number given, as in 192 or 1/3")
    return found


def option_values(given: list[str] | None) -> dict[str, object]:
    """`["seeds=even", "spread=0.3"]` as values: true, false, whole numbers, numbers or words."""
    values: dict[str, object] = {}
    for each in given or ():
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise BadParameter("options", each, "must be name=value, as seeds=even")
        values[name] = read_value(text)
    return values
