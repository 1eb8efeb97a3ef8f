"""Tokens in, text out, piece by piece, cut before the first stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

HALF = "\ufffd"
"""What a tokenizer decodes part of a character to."""


class TextWriter:
    """The text of one answer as it grows.

    Args:
        decode: token ids → text.
        stops: strings before which the answer ends.

    Attributes:
        stopped: whether one of them was met; nothing is written after it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode, self._stops = decode, stops
        self._tokens: list[int] = []
        self._start, self._read = 0, 0
        self._held = ""
        self._begun = self.stopped = False

    def add(self, token: int) -> str:
        """The text that a further token makes certain; empty where more must be known first."""
        self._tokens.append(token)
        # A token's text depends on the one before (spaces, letters that join), so a few are decoded
        # together: those since the last piece, behind those of the last piece.
        before = self._decode(self._tokens[self._start : self._read])
        now = self._decode(self._tokens[self._start :])
        if now.endswith(HALF) or len(now) < len(before):
            return ""
        self._start, self._read = self._read, len(self._tokens)
        return self._pass(now[len(before) :])

    def end(self) -> str:
        """What was held back, when no more tokens come."""
        rest = self._decode(self._tokens[self._start :])[
            len(self._decode(self._tokens[self._start : self._read])) :
        ]
        held = self._pass(rest) + self._held
        self._held = ""
        return "" if self.stopped else held

    def _pass(self, piece: str) -> str:
        if self.stopped:
            return ""
        text = self._held + piece
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that a stop string begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
