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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftprof.data.own.values import shown
from swiftprof.errors import BadParameter, BadSample, SwiftprofError, did_you_mean

ROLES: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "images", "file_name", "image_path", "img", "picture"),
    "question": ("question", "query", "prompt", "problem", "expression"),
    "answers": ("answers", "answer", "label"),
    "box": ("box", "bbox", "bounding_box"),
    "choices": ("choices", "options"),
    "conversations": ("conversations", "messages"),
    "hint": ("hint",),
    "id": ("id", "question_id", "index"),
    "kind": ("kind", "category"),
    "metric": ("metric",),
}
"""Role → usual names of its column, best first."""
LETTERED = ("A", "B", "C", "D", "E", "F")
"""Columns with one option each, as MMBench's tables have them."""
_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant", "model")


def role_of(word: str) -> str | None:
    """The role that a word of ``--columns`` means: a role, or one of its usual names."""
    return word if word in ROLES else next((r for r, names in ROLES.items() if word in names), None)


def find_columns(names: Collection[str], said: Mapping[str, str], where: str) -> dict[str, str]:
    """Role → column, of the roles that are there.

    Args:
        names: columns of the data.
        said: role → column, where it was said.

    Raises:
        SwiftprofError: a column that was said or is needed is missing.
    """
    found: dict[str, str] = {}
    for role, column in said.items():
        if column not in names:
            raise SwiftprofError(
                f"{where}: column {column[:80]!r} is missing ({did_you_mean(column, names)})"
            )
        found[role] = column
    for role, usual in ROLES.items():
        if role not in found and (there := next((n for n in usual if n in names), None)):
            found[role] = there
    if "choices" not in found and {"A", "B"} <= set(names):
        found |= {letter: letter for letter in LETTERED if letter in names}
    if "conversations" in found and not {"question", "answers"} <= set(found):
        needed = ["image"]
    else:
        found.pop("conversations", None)
        needed = ["image", "question"]
    for role in needed:
        if role not in found:
            raise SwiftprofError(
                f"{where}: no column for the {role} ({did_you_mean(role, names)}); a row has "
                f"image, question, and answers or box. Name it with `columns`: {role}=COLUMN"
            )
    if needed[1:] and not {"answers", "box"} & set(found):
        raise SwiftprofError(
            f"{where}: no column for answers and none for a box "
            f"({did_you_mean('answers', names)}); name one with `columns`: answers=COLUMN"
        )
    return found


def options_in(row: Mapping[str, Any]) -> Any:
    """The choices of a row (role → value), from one column or from A, B, …; None without."""
    if row.get("choices") is not None:
        return row["choices"]
    lettered = [row[letter] for letter in LETTERED if row.get(letter) not in (None, "")]
    return lettered if len(lettered) > 1 else None


def turns(conversation: Any) -> list[tuple[str, str]]:
    """Questions of a chat with their answers, from LLaVA's or the chat templates' form.

    Raises BadSample: it is no chat, or nothing in it is answered.
    """
    if not isinstance(conversation, list | tuple):
        raise BadSample(f"conversations is {shown(conversation)}, no list of turns")
    pairs: list[tuple[str, str]] = []
    question: str | None = None
    for turn in conversation:
        if not isinstance(turn, Mapping):
            raise BadSample(f"conversations holds {shown(turn)}, no turn")
        speaker = str(turn.get("from", turn.get("role"))).lower()
        said = _said(turn.get("value", turn.get("content")))
        if speaker in _HUMAN:
            question = said
        elif speaker in _MODEL and question is not None:
            pairs.append((question, said))
            question = None
    if not pairs:
        raise BadSample("conversations has no question with an answer")
    return pairs


def _said(content: Any) -> str:
    if isinstance(content, list | tuple):  # parts of text and images
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = " ".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise BadSample(f"a turn says {shown(content)}, no text")
    return content


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


def with_columns(names: Sequence[str], columns: str) -> list[str]:
    """Names of data sets, those of own data with the columns of ``--columns``.

    Args:
        columns: ``question=q,answers=a``.
    """
    pairs = [part.strip() for part in columns.split(",") if part.strip()]
    for pair in pairs:
        if not pair.partition("=")[2]:
            raise BadParameter("columns", pair[:80], "must be role=column, as in question=q")
    if not pairs:
        return list(names)
    if not any(is_own(name) for name in names):
        raise BadParameter("columns", None, "goes with data of your own; none is named")
    said = "&".join(pairs)
    return [f"{n}{'&' if '?' in n else '?'}{said}" if is_own(n) else n for n in names]
