"""A thing of one kind given where another is meant: recognised, and said where it belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swiftprof.errors import SwiftprofError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_BELONGS = {
    "address": "a web address, and nothing is downloaded from there: save it and give the file",
    "plan": "a plan: give it with `plan`",
    "profile": "a profile folder: give it with `profile`, or as swiftprof plan FOLDER",
    "data": "a data file: give it with `datasets`",
    "picture": "a picture: give it with `image`",
    "model": "a model's folder: give it with `model`",
    "hub id": "perhaps a model's id on the hub, which goes with `model`; a plan or profile that "
    "somebody shared is named hf://owner/name",
}
_DATA, _PICTURES = (".csv", ".tsv", ".jsonl", ".parquet"), (".png", ".jpg", ".jpeg", ".webp")


def kind_of(text: str) -> str | None:
    """What a text names, by its form and by what lies there: a key of `_BELONGS`, or None."""
    path, suffix = Path(text), Path(text).suffix.lower()
    if re.match(r"https?:/", text):
        return "address"
    if suffix in _DATA:
        return "data"
    if suffix in _PICTURES:
        return "picture"
    if path.is_dir():
        if (path / "profile.json").is_file() or (path / "run.json").is_file():
            return "profile"
        return "model" if (path / "config.json").is_file() else None
    if suffix == ".json":
        return "plan"
    return "hub id" if _HUB_ID.fullmatch(text) and not path.exists() else None


@contextmanager
def hinting(text: str, *wanted: str) -> Iterator[None]:
    """Replace a complaint about `text` where it is plainly something else than `wanted`."""
    try:
        yield
    except SwiftprofError:
        hint = told(text, *wanted)
        if hint is None:
            raise
        raise SwiftprofError(f"{text}: {hint}") from None


def told(text: str, *wanted: str) -> str | None:
    """The end of a message about `text`, where it is plainly something else than `wanted`.

    Examples:
        >>> told("plan.json", "profile")
        'this looks like a plan: give it with `plan`'
    """
    kind = kind_of(text)
    return None if kind is None or kind in wanted else f"this looks like {_BELONGS[kind]}"
