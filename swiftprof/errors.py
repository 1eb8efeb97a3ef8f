"""The exceptions that people see."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class SwiftprofError(Exception):
    """Bad input, told in one line.

    The message names the file, parameter or value, says what is wrong with it and what to do next.
    Parameters stand in backticks, as in "use `retain`"; the command line prints them as its options
    (`--retain`), without a traceback, and exits with code 2.
    """


class BadParameter(SwiftprofError):
    """A parameter's value that cannot be used.

    Args:
        parameter: its name as Python has it (`batch_size`); several with " and " between them.
        value: what was given; None where the message does not need it.
        message: what is wrong, and what to do.

    Examples:
        >>> str(BadParameter("ratio", 2.0, "must be below 1; for a number of tokens use `retain`"))
        'ratio 2: must be below 1; for a number of tokens use `retain`'
    """

    def __init__(self, parameter: str, value: object, message: str) -> None:
        super().__init__(parameter, value, message)
        self.parameter, self.value, self.message = parameter, value, message

    def __str__(self) -> str:
        return self.told(str)

    def told(self, spell: Callable[[str], str]) -> str:
        """The line, with the parameter's name (not those in the message) spelled by `spell`."""
        names = " and ".join(spell(name) for name in self.parameter.split(" and "))
        value = f"{self.value:g}" if isinstance(self.value, float) else self.value
        return f"{names}: {self.message}" if value is None else f"{names} {value}: {self.message}"


class BadSample(SwiftprofError):
    """One sample cannot be used; the message says why. It is skipped, counted and listed."""


def reason(error: BaseException) -> str:
    """Any exception in one line.

    Examples:
        >>> reason(ValueError("no such\\nthing"))
        'ValueError: no such thing'
    """
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
