"""ScienceQA-IMG: multiple-choice questions of school science that come with an image.

Example: "Which of these states is farthest north?" with options A to D → ``A``; accuracy. How the
letter is read depends on the prompt style: LLaVA's own rule for LLaVA, a wider one for the others.
The image is padded for models trained so, as in LLaVA's evaluation since version 1.5; before, it
was cropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from swiftprof.data.base import Sample
from swiftprof.data.hosted import HostedDataset, image_in, text_in, texts_in
from swiftprof.data.scoring.choices import LETTERS, llava_letter, option_letter
from swiftprof.data.sources.find import Part
from swiftprof.data.wording import OPTION_LETTER, lettered
from swiftprof.errors import BadSample
from swiftprof.models.conventions import LLAVA_STYLES, Conventions

COLUMNS = ("image", "question", "choices", "answer", "hint")


class ScienceQA(HostedDataset):
    name = "scienceqa"
    description = "school science with an image, multiple choice (ScienceQA-IMG)"
    metric = "accuracy"
    licence = "CC BY-NC-SA 4.0"
    published: Mapping[str, int] = {"train": 6_218, "validation": 2_097, "test": 2_017}
    megabytes: Mapping[str, int] = {"train": 400, "validation": 133, "test": 130}
    # lmms-lab's ScienceQA has these rows as a configuration, whose card declares no train split;
    # this one is not known to have moved, and the old address would lead to the new one
    parts: Mapping[str, Part] = {
        split: Part(("lmms-lab/ScienceQA-IMG", "lmms-lab-encoder/ScienceQA-IMG"), split, COLUMNS)
        for split in ("train", "validation", "test")
    }

    def sample(self, split: str, index: int) -> Sample:
        row = self.rows(split).row(index)
        choices, answer = texts_in(row, "choices"), row["answer"]
        if not isinstance(answer, int) or not 0 <= answer < min(len(choices), len(LETTERS)):
            raise BadSample(f"answer is {answer!r}, no number of an option")
        return Sample(
            id=f"{split}-{index:05d}",
            image=image_in(row),
            question=text_in(row, "question"),
            answers=(LETTERS[answer],),
            choices=choices,
            hint=row["hint"] or "",
        )

    def prompt(self, sample: Sample, style: str) -> str:
        context = f"Context: {sample.hint}\n" if sample.hint else ""
        return f"{context}{sample.question}\n{lettered(sample.choices)}{OPTION_LETTER}"

    def score(self, prediction: str, sample: Sample) -> float:
        if sample.style in LLAVA_STYLES:
            return float(llava_letter(prediction, len(sample.choices)) == sample.answers[0])
        return float(option_letter(prediction, sample.choices) == sample.answers[0])

    def wording(self, conventions: Conventions) -> str:
        rule = "LLaVA's rule" if conventions.prompt_style in LLAVA_STYLES else "any usual form"
        return f"{super().wording(conventions)}; letters read by {rule}"
