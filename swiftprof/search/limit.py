"""How long a search may go on: `10m`, `90s`, `1h`, or a number of candidates."""

from __future__ import annotations

import re
from dataclasses import dataclass

from swiftprof.errors import BadParameter

_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Limit:
    """At most so many seconds of measuring, or so many candidates; one of the two.

    Examples:
        >>> Limit.parse("10m")
        Limit(seconds=600.0, candidates=None)
        >>> Limit.parse("200")
        Limit(seconds=None, candidates=200)
    """

    seconds: float | None = None
    candidates: int | None = None

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read it. Raises BadParameter."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
        if match and float(match[1]) > 0:
            return cls(seconds=float(match[1]) * _UNITS[match[2]])
        if text.strip().isdecimal() and int(text) > 0:
            return cls(candidates=int(text))
        raise BadParameter("search", text, "must be a time as 10m or 1h, or a number of candidates")

    def share(self, seconds: float, candidates: int) -> float:
        """How much of it is used up; 1 or more when it is over."""
        if self.seconds is not None:
            return seconds / self.seconds
        return candidates / (self.candidates or 1)
