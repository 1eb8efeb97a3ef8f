"""MMBench (English, dev): multiple choice, asked again with the options rotated.

Example: "What is the main object?" with options A to D → ``B``. The plain score counts rows; under
``circular`` a question is right only where every rotation is (rows whose index is equal modulo a
million). Letters are read by MMBench's own rules and never by another model. ``test`` has no
answers. LLaVA's own evaluation pads the image and stops after 1,024 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftprof.data.base import Sample, Scored
from swiftprof.data.hosted import HostedDataset, hub, image_in, text_in
from swiftprof.data.scoring.choices import circular_metrics, option_letter
from swiftprof.data.sources.find import Part
from swiftprof.data.wording import OPTION_LETTER, lettered
from swiftprof.errors import BadSample
from swiftprof.models.conventions import LLAVA_STYLES

OPTIONS = ("A", "B", "C", "D")
COLUMNS = ("index", "question", "hint", "answer", *OPTIONS, "category", "image")
ROTATION = 1_000_000


class MMBench(HostedDataset):
    name = "mmbench"
    description = "multiple choice under rotated options (English)"
    metric = "accuracy, circular"
    licence = "Apache-2.0"
    max_new_tokens = 100  # some models explain themselves; LLaVA's evaluation stops at 1,024
    eval_split = "dev"
    published: Mapping[str, int] = {"dev": 4_329}
    parts: Mapping[str, Part] = {"dev": Part(hub("MMBench"), "dev", COLUMNS, "en")}

    def groups(self, split: str) -> Sequence[Sequence[int]]:
        questions: dict[int | str, list[int]] = {}
        for row, number in enumerate(self.rows(split).column("index")):
            try:
                question: int | str = int(number) % ROTATION
            except (TypeError, ValueError):
                question = f"row {row}"  # broken; `sample` says so
            questions.setdefault(question, []).append(row)
        return list(questions.values())

    def sample(self, split: str, index: int) -> Sample:
        row = self.rows(split).row(index)
        try:
            number = int(row["index"])
        except (TypeError, ValueError):
            raise BadSample(f"index is {row['index']!r}, no number") from None
        choices = _choices(row)
        answer = text_in(row, "answer").strip()
        if answer not in OPTIONS[: len(choices)]:
            raise BadSample(f"answer {answer!r} is none of the {len(choices)} options")
        return Sample(
            id=str(number),
            image=image_in(row),
            question=text_in(row, "question"),
            answers=(answer,),
            kind=str(row["category"] or ""),
            group=str(number % ROTATION),
            choices=choices,
            hint="" if _absent(row["hint"]) else str(row["hint"]),
        )

    def prompt(self, sample: Sample, style: str) -> str:
        options = lettered(sample.choices)
        if style in LLAVA_STYLES:
            hint = f"{sample.hint}\n" if sample.hint else ""
            return f"{hint}{sample.question}\n{options}{OPTION_LETTER}"
        hint = f"{sample.hint} " if sample.hint else ""
        return f"{hint}{sample.question} There are several options:\n{options}\n{OPTION_LETTER}"

    def score(self, prediction: str, sample: Sample) -> float:
        return float(option_letter(prediction, sample.choices) == sample.answers[0])

    def metrics(self, scored: Sequence[Scored]) -> dict[str, float]:
        return circular_metrics(scored)


def _choices(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Options up to the first that is absent."""
    out: list[str] = []
    for option in OPTIONS:
        if _absent(row[option]):
            break
        out.append(str(row[option]))
    if not out:
        raise BadSample("no option has a text")
    return tuple(out)


def _absent(value: Any) -> bool:
    return value is None or str(value).strip().lower() in ("", "nan", "none")
