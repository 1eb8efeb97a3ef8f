"""The one exception that people see."""

from __future__ import annotations

from collections.abc import Iterable


class SwiftprofError(Exception):
    """Bad input, told in one line.

    The message names the file, option or value, says what is wrong with it and what to do next. The
    command line prints it without a traceback and exits with code 2.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown `name`: the nearest known names, else all of them.

    Examples:
        >>> did_you_mean("swiftvml", ["swiftvlm", "fastv"])
        "did you mean 'swiftvlm'?"
        >>> did_you_mean("x", ["swiftvlm", "fastv"])
        'known: fastv, swiftvlm'
    """
    import difflib  # only an error pays for it

    names = sorted(set(known))
    lowered = {each.lower(): each for each in names}
    close = [
        lowered[hit] for hit in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    ]
    if close:
        return "did you mean " + " or ".join(f"'{each}'" for each in close) + "?"
    return "known: " + ", ".join(names) if names else "none is known"
