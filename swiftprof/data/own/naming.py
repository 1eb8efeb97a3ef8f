"""How own data are named, with what has to be said about them.

::

    questions.jsonl
    table.csv?question=q&answers=a&image=img       columns under other names
    boxes.json?box=bbox&box_format=xywh
    folder-of-save_to_disk?split=test
    hub:org/name:split?question=q                  any repository of the Hub with parquet files

``--columns question=q,answers=a`` says the same; a name says all of it in one word, so it can be
stored and given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swiftprof.data.own.columns import ROLES, role_of
from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean

HUB = "hub:"
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
SETTINGS = ("metric", "box_format", "split", "max_new_tokens")
"""What can be said beside the names of columns."""


@dataclass(frozen=True)
class OwnName:
    """Own data and what was said about them.

    Attributes:
        place: a path, or ``hub:org/name[/config]:split``.
        columns: role → name of the column.
        settings: see `SETTINGS`.
    """

    place: str
    columns: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return Path(self.place).expanduser()

    @property
    def on_hub(self) -> bool:
        return self.place.startswith(HUB)

    def __str__(self) -> str:
        """The name that `parse` reads as this."""
        place = self.place if self.on_hub else str(self.path.absolute())
        said = "&".join(f"{k}={v}" for k, v in {**self.columns, **self.settings}.items())
        return f"{place}?{said}" if said else place


def is_own(name: str) -> bool:
    """Whether the name of a data set is one of own data."""
    place = name.partition("?")[0].lower()
    return (
        place.startswith(HUB)
        or place.removesuffix(".gz").endswith(SUFFIXES)
        or "/" in place
        or "\\" in place
    )


def parse(name: str) -> OwnName:
    """Raises SwiftprofError: a word that means nothing."""
    place, _, said = name.partition("?")
    columns: dict[str, str] = {}
    settings: dict[str, str] = {}
    for part in filter(None, said.split("&")):
        key, _, value = part.partition("=")
        role = role_of(key)
        if not value:
            raise SwiftprofError(f"{name[:200]}: {key[:40]!r} has no value; write {key[:40]}=…")
        if role is not None:
            columns[role] = value
        elif key in SETTINGS:
            settings[key] = value
        else:
            hint = did_you_mean(key[:40], (*ROLES, *SETTINGS))
            raise SwiftprofError(f"{name[:200]}: {key[:40]!r} is no role of a column; {hint}")
    return OwnName(place, columns, settings)


def with_columns(names: Sequence[str], columns: str | None) -> list[str]:
    """Names of data sets, those of own data with the columns of ``--columns``.

    Args:
        columns: ``question=q,answers=a``.
    """
    pairs = [part.strip() for part in (columns or "").split(",") if part.strip()]
    for pair in pairs:
        if not pair.partition("=")[2]:
            raise BadParameter("columns", pair[:80], "must be role=column, as in question=q")
    if not pairs:
        return list(names)
    if not any(is_own(name) for name in names):
        raise BadParameter("columns", None, "goes with data of your own; none is named")
    said = "&".join(pairs)
    return [f"{n}{'&' if '?' in n else '?'}{said}" if is_own(n) else n for n in names]
