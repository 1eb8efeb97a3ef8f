"""What a search has measured, line by line in a file: an interrupted search repeats nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from swiftprof.errors import SwiftprofError

Unit = tuple[str, int]
"""A data set's name and the number of a block of its samples."""


class Store:
    """Scores by candidate and unit, in memory and, with a folder, in `scores.jsonl`.

    A line that was cut off by an interruption is measured again.

    Attributes:
        seconds: what all measuring took so far, interruptions not counted.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        """Open or begin a search's file.

        Raises:
            SwiftprofError: the folder holds a search with other settings.
        """
        self.seconds = 0.0
        self._found: dict[tuple[str, Unit], list[float]] = {}
        self._path = None if folder is None else folder / "scores.jsonl"
        if self._path is None:
            return
        header = json.dumps({"settings": settings}, sort_keys=True)
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._append(header)
            return
        first, *lines = self._path.read_text().split("\n")
        if first != header:
            raise SwiftprofError(
                f"{self._path}: holds a search with other settings; name another folder or repeat "
                "the settings it began with"
            )
        whole = [first]
        for line in lines:
            try:
                record = json.loads(line)
                key = (record["candidate"], (record["set"], record["block"]))
                scores = [float(value) for value in record["scores"]]
                seconds = float(record["seconds"])
            except (ValueError, KeyError, TypeError):
                continue
            self._found[key] = scores
            self.seconds += seconds
            whole.append(line)
        if "\n".join([*whole, ""]) != "\n".join([first, *lines]):
            self._path.write_text("\n".join([*whole, ""]))

    def get(self, candidate: str, unit: Unit) -> list[float] | None:
        """Scores of a unit's samples, None where they were not measured."""
        return self._found.get((candidate, unit))

    def put(self, candidate: str, unit: Unit, scores: list[float], seconds: float) -> None:
        """Keep what was measured."""
        self._found[candidate, unit] = scores
        self.seconds += seconds
        line = {
            "candidate": candidate,
            "set": unit[0],
            "block": unit[1],
            "scores": scores,
            "seconds": round(seconds, 4),
        }
        if self._path is not None:
            self._append(json.dumps(line))

    def _append(self, line: str) -> None:
        assert self._path is not None
        with self._path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
