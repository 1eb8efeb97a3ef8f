"""Own data as a data set: rows in any usual form to samples, prompts and scores.

One row a sample, or one question of a chat::

    {"image": "images/cat.png", "question": "What animal is this?", "answers": ["cat", "kitten"]}
    {"image": "images/cat.png", "question": "the cat on the left", "box": [12, 30, 220, 310]}
    {"image": "images/cat.png", "question": "What is it?", "choices": ["cat", "dog"], "answer": "A"}
    {"image": "images/cat.png", "conversations": [{"from": "human", "value": "<image>\\nWhat …

Images are paths relative to the data, bytes as ``datasets`` writes them, ``data:`` URLs or base64;
a path must stay inside the data's folder or ``--data-root``, symbolic links followed.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftprof.data.base import Dataset, Sample
from swiftprof.data.frames import Box
from swiftprof.data.own.naming import OwnName, find_columns, options_in, parse, turns
from swiftprof.data.own.tables import ALL, Table, open_tables
from swiftprof.data.own.task import BOXES, CHOICE, METRICS, TRIED, task_of
from swiftprof.data.own.values import (
    box_of,
    choices_of,
    chosen,
    pictures_of,
    shown,
    text_of,
    texts_of,
)
from swiftprof.data.scoring.boxes import score_box
from swiftprof.data.scoring.choices import option_letter
from swiftprof.data.sources.parquet import Rows
from swiftprof.data.wording import OPTION_LETTER, box_prompt, lettered
from swiftprof.errors import BadSample
from swiftprof.models.conventions import Conventions

_IMAGE_MARK = re.compile(r"\s*<image>\s*")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_ENDINGS = re.compile(r"(\.(jsonl|ndjson|json|csv|tsv|parquet|gz))+$", re.IGNORECASE)


@dataclass(frozen=True)
class Split:
    """One split's rows; a chat has a sample for each of its questions."""

    table: Table
    columns: Mapping[str, str]
    turns: list[tuple[int, int]] | None

    def __len__(self) -> int:
        return len(self.table) if self.turns is None else len(self.turns)

    def row(self, index: int) -> dict[str, Any]:
        """Role → value. Raises BadSample."""
        number, turn = (index, 0) if self.turns is None else self.turns[index]
        row = self.table.row(number)
        roles = {role: row.get(column) for role, column in self.columns.items()}
        if self.turns is not None:
            roles["question"], roles["answers"] = turns(roles.pop("conversations"))[turn]
        return roles

    def place(self, index: int) -> str:
        return self.table.place(index if self.turns is None else self.turns[index][0])


class OwnDataset(Dataset):
    """Own data by their name (see `naming`).

    Attributes:
        own: the name, taken apart.
        digest: short name of their content.
    """

    licence = "your own"

    def __init__(self, name: str | Path, data_root: Path | None = None) -> None:
        self.own = parse(str(name))
        self.data_root = data_root
        self._tables = {
            split: _split(table, self.own)
            for split, table in open_tables(self.own, data_root).items()
        }
        self.name = _name(self.own)
        self.train_split = _first(self._tables, "train")
        self.eval_split = _first(self._tables, "test", "validation", "val")
        self.task = task_of(
            [row for each in self._tables.values() for row in _readable(each)], self.own
        )
        self.metric = self.task.label
        self.localization = self.task.metric == BOXES
        self.max_new_tokens = self.task.max_new_tokens
        rows = sum(map(len, self._tables.values()))
        self.description = f"{rows} samples of {Path(self.own.place).name}"
        self.digest = self._digest()
        self.origin = str(self.own)

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(each) for split, each in self._tables.items()}

    def at(self, data_root: Path | None) -> OwnDataset:
        other = copy.copy(self)
        other.data_root = data_root
        return other

    def source(self, split: str) -> str:
        place = self.own.place if self.own.on_hub else self.own.path.name
        readable = place.encode("utf-8", "backslashreplace").decode()
        return f"{readable} {self.digest}"

    def sample(self, split: str, index: int) -> Sample:
        self.check_split(split)
        rows = self._tables[split]
        try:
            return self._sample(index, rows.row(index))
        except BadSample as error:
            raise BadSample(f"{rows.place(index)}: {error}") from None

    def wording(self, conventions: Conventions) -> str:
        return super().wording(conventions) if self.localization else "questions as they stand"

    def prompt(self, sample: Sample, style: str) -> str:
        """Expressions are asked in the model's own words, questions as they stand."""
        if self.localization:
            return box_prompt(sample.question, style)
        if sample.choices:
            return f"{sample.question}\n{lettered(sample.choices)}{OPTION_LETTER}"
        return sample.question

    def score(self, prediction: str, sample: Sample) -> float:
        if self.task.metric == CHOICE:
            return float(option_letter(prediction, sample.choices) == sample.answers[0])
        if not self.localization:
            return METRICS[self.task.metric](prediction, sample.answers)
        return score_box(prediction, sample)

    def _sample(self, index: int, row: Mapping[str, Any]) -> Sample:
        metric = row.get("metric")
        if metric is not None and shown(metric).strip("'").lower() != self.task.metric:
            raise BadSample(
                f"metric is {shown(metric)}, but the data began with {self.task.metric!r}"
            )
        question = _IMAGE_MARK.sub("\n", text_of(row["question"], "question")).strip()
        if not question:
            raise BadSample("question has no text beside <image>")
        image, *others = pictures_of(row["image"], self._roots())
        box: Box | None = None
        choices: tuple[str, ...] = ()
        answers: tuple[str, ...]
        if self.localization:
            box = box_of(row.get("box"), image.size, self.task.box_format)
            answers = ("[" + ", ".join(f"{v:g}" for v in box) + "] px",)
        elif self.task.metric == CHOICE:
            choices = choices_of(options_in(row))
            answers = (chosen(row.get("answers"), choices),)
        else:
            answers = texts_of(row.get("answers"), "answers")
            self.task.check_answers(answers)
        hint = row.get("hint")
        if isinstance(hint, str) and hint.strip() and not self.localization:
            question = f"{hint.strip()}\n{question}"
        name, kind = row.get("id"), row.get("kind")
        return Sample(
            id=f"{index:06d}" if name is None else f"{index:06d}-{text_of(name, 'id')[:200]}",
            image=image,
            question=question,
            answers=answers,
            kind="" if kind in (None, "") else text_of(kind, "kind")[:200],
            box=box,
            choices=choices,
            others=tuple(others),
        )

    def _digest(self) -> str:
        """Short name of the content, so that a run does not go on with data that have changed."""
        if not self.own.on_hub:
            return _digest_of(self.own.path)
        (rows,) = (each.table for each in self._tables.values())
        return rows.found.source.rpartition("@")[2] if isinstance(rows, Rows) else ""

    def _roots(self) -> list[Path]:
        folder = self.own.path.resolve()
        folders = [] if self.own.on_hub else [folder if folder.is_dir() else folder.parent]
        return [*folders, *([self.data_root.resolve()] if self.data_root else [])]


def _split(table: Table, own: OwnName) -> Split:
    columns = find_columns(table.names, own.columns, own.place)
    table = table.use(list(dict.fromkeys(columns.values())))
    if "conversations" not in columns:
        return Split(table, columns, None)
    column = columns["conversations"]
    every: list[tuple[int, int]] = []
    for number, chat in enumerate(table.use([column]).column(column)):
        try:
            count = len(turns(chat))
        except BadSample:
            count = 1  # it is listed as broken when it is drawn
        every += [(number, turn) for turn in range(count)]
    return Split(table, columns, every)


def _readable(split: Split) -> list[dict[str, Any]]:
    rows = []
    for index in range(min(len(split), TRIED)):
        try:
            rows.append(split.row(index))
        except BadSample:
            continue
    return rows


def _name(own: OwnName) -> str:
    place = own.place
    if own.on_hub:
        repository, _, split = place.removeprefix("hub:").partition(":")
        place = f"{repository.partition('/')[2]}-{split}" if split else repository
    name = _UNSAFE.sub("-", _ENDINGS.sub("", own.path.name if not own.on_hub else place))
    return name.strip(".-") or "data"


def _first(splits: Mapping[str, Split], *wanted: str) -> str:
    return next((split for split in wanted if split in splits), next(iter(splits), ALL))


def _digest_of(path: Path) -> str:
    """``sha256:…`` of a file, or of a folder's data files with their names."""
    sha = hashlib.sha256()
    kinds = (".arrow", ".parquet", ".json")
    files = [f for f in sorted(path.rglob("*")) if f.suffix in kinds] if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            sha.update(f"{file.relative_to(path)} {file.stat().st_size}".encode(errors="replace"))
        with file.open("rb") as opened:
            hashlib.file_digest(opened, lambda: sha)
    return f"sha256:{sha.hexdigest()[:16]}"
