"""How own data are named, with what has to be said about them.

::

    questions.jsonl
    table.csv?question=q&answers=a&image=img       columns under other names
    boxes.json?box=bbox&box_format=xywh
    folder-of-save_to_disk?split=test
    hub:org/name:split?question=q                  any repository of the Hub with parquet files
    mine.yaml                                      the same as ``data: …`` and one line for each

``--columns question=q,answers=a`` and a file ``table.csv.yaml`` beside ``table.csv`` say the same
things; a name says all of it in one word, so it can be stored and given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftprof.data.own.columns import ROLES, role_of
from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean

HUB = "hub:"
DESCRIPTIONS = (".yaml", ".yml")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
SETTINGS = ("metric", "box_format", "split", "max_new_tokens")
"""What can be said beside the names of columns."""
MAX_DESCRIPTION = 1 << 16


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
        or place.removesuffix(".gz").endswith((*SUFFIXES, *DESCRIPTIONS))
        or "/" in place
        or "\\" in place
    )


def parse(name: str) -> OwnName:
    """Raises SwiftprofError: a word that means nothing, a description that cannot be read."""
    place, _, said = name.partition("?")
    pairs = [part.partition("=") for part in said.split("&") if part]
    own = _own(place, {key: value for key, _, value in pairs}, name)
    if own.on_hub:
        return own
    if place.lower().endswith(DESCRIPTIONS):
        return _described(own.path, own)
    beside = own.path.with_name(f"{own.path.name}{DESCRIPTIONS[0]}")
    return _described(beside, own) if beside.is_file() else own


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


def _own(place: str, said: Mapping[str, str], where: str) -> OwnName:
    columns: dict[str, str] = {}
    settings: dict[str, str] = {}
    for key, value in said.items():
        role = role_of(key)
        if not value:
            raise SwiftprofError(f"{where[:200]}: {key[:40]!r} has no value; write {key[:40]}=…")
        if role is not None:
            columns[role] = value
        elif key in SETTINGS:
            settings[key] = value
        else:
            hint = did_you_mean(key[:40], (*ROLES, *SETTINGS))
            raise SwiftprofError(f"{where[:200]}: {key[:40]!r} is no role of a column; {hint}")
    return OwnName(place, columns, settings)


def _described(path: Path, own: OwnName) -> OwnName:
    """Own data with what a YAML file says of them; what the name says counts more."""
    said = _read(path)
    data = said.pop("data", None)
    place = own.place
    if own.path == path:
        if data is None:
            raise SwiftprofError(f"{path}: has no line data: FILE, FOLDER or hub:org/name:split")
        place = data if data.startswith(HUB) else str(path.parent / Path(data).expanduser())
    elif data is not None:
        raise SwiftprofError(f"{path}: data: goes only into a file that is named itself; remove it")
    whole = _own(place, said, str(path))
    return OwnName(place, {**whole.columns, **own.columns}, {**whole.settings, **own.settings})


def _read(path: Path) -> dict[str, str]:
    import yaml  # type: ignore[import-untyped]

    try:
        if not path.is_file() or path.stat().st_size > MAX_DESCRIPTION:
            raise SwiftprofError(f"{path}: no such file, or too large for a description of data")
        document: Any = yaml.safe_load(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise SwiftprofError(f"{path}: not readable as YAML ({_first_line(error)})") from None
    if isinstance(document, Mapping) and isinstance(columns := document.get("columns"), Mapping):
        document = {**{k: v for k, v in document.items() if k != "columns"}, **columns}
    if not isinstance(document, Mapping) or not all(
        isinstance(k, str) and isinstance(v, str | int) for k, v in document.items()
    ):
        raise SwiftprofError(f"{path}: must have lines as question: name-of-column")
    return {str(k): str(v) for k, v in document.items()}


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:100] if lines else type(error).__name__
