"""What is wrong with one sample, in contrast to a whole data set."""

from __future__ import annotations

from swiftprof.errors import SwiftprofError


class BadSample(SwiftprofError):
    """One sample cannot be used; the message says why. It is skipped, counted and listed."""
