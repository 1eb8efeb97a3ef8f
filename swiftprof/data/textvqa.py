"""TextVQA: questions that need reading text in the image.

Example: "what is the brand of this camera?" → ``dakota``; ten people's answers, VQA accuracy after
EvalAI's processor. Without OCR tokens in the prompt, as in the paper; LLaVA-1.5's published 58.2 is
with them (``textvqa-ocr``), about 46 is without.
"""

from __future__ import annotations

from collections.abc import Mapping

from swiftprof.data.base import Sample
from swiftprof.data.hosted import HostedDataset, hub, image_in, text_in, texts_in
from swiftprof.data.scoring.vqa import textvqa_accuracy
from swiftprof.data.sources.find import Part
from swiftprof.data.wording import SHORT_ANSWER
from swiftprof.models.conventions import LLAVA_STYLES, Conventions

COLUMNS = ("question_id", "question", "image", "answers")
OCR_REFERENCE = "\nReference OCR token: "


def _parts(published: Mapping[str, int], columns: tuple[str, ...]) -> dict[str, Part]:
    return {split: Part(hub("textvqa"), split, columns, in_part=True) for split in published}


class TextVQA(HostedDataset):
    """Without OCR tokens; ``test`` has no answers and is left out."""

    name = "textvqa"
    description = "read text in the image"
    metric = "VQA accuracy (EvalAI)"
    licence = "CC BY 4.0"
    eval_split = "validation"
    block = 100
    ocr = False
    published: Mapping[str, int] = {"train": 34_602, "validation": 5_000}
    megabytes: Mapping[str, int] = {"train": 6_000}
    parts: Mapping[str, Part] = _parts(published, COLUMNS)

    def sample(self, split: str, index: int) -> Sample:
        row = self.rows(split).row(index)
        tokens = row["ocr_tokens"] or () if self.ocr else ()
        return Sample(
            id=str(row["question_id"]),
            image=image_in(row),
            question=text_in(row, "question"),
            answers=texts_in(row, "answers"),
            hint=", ".join(str(t) for t in tokens),
        )

    def prompt(self, sample: Sample, style: str) -> str:
        # lmms-eval capitalises, which lower-cases the rest of the question too
        question = sample.question if style in LLAVA_STYLES else sample.question.capitalize()
        reference = OCR_REFERENCE + sample.hint if self.ocr else ""
        return question + reference + SHORT_ANSWER

    def score(self, prediction: str, sample: Sample) -> float:
        return textvqa_accuracy(prediction, sample.answers)

    def wording(self, conventions: Conventions) -> str:
        return f"{super().wording(conventions)} {'with' if self.ocr else 'without'} OCR tokens"


class TextVQAWithOCR(TextVQA):
    name = "textvqa-ocr"
    description = "read text in the image, OCR tokens in the prompt"
    ocr = True
    parts: Mapping[str, Part] = _parts(TextVQA.published, (*COLUMNS, "ocr_tokens"))
