"""POPE: is an object there? Asked for objects that are, and for some that are not.

Example: "Is there a snowboard in the image?" → ``yes``. The three subsets differ in the objects
that are not there: random, popular, or often seen with what is there (adversarial).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swiftprof.data.base import Sample, Scored
from swiftprof.data.hosted import HostedDataset, hub, image_in, text_in, yes_no_in
from swiftprof.data.scoring.yes_no import pope_answer, pope_metrics
from swiftprof.data.sources.find import Part

COLUMNS = ("question_id", "image", "question", "answer", "category")
SUBSETS = ("adversarial", "popular", "random")


class POPE(HostedDataset):
    name = "pope"
    description = "is an object in the image? (object hallucination)"
    metric = "accuracy, F1 per subset"
    licence = "MIT, images: Flickr terms (COCO)"
    max_new_tokens = 8
    published: Mapping[str, int] = {
        "test": 9_000,
        "adversarial": 3_000,
        "popular": 3_000,
        "random": 3_000,
    }
    megabytes: Mapping[str, int] = {"test": 255, "adversarial": 85, "popular": 85, "random": 85}
    parts: Mapping[str, Part] = {"test": Part(hub("POPE"), "test", COLUMNS)} | {
        subset: Part(hub("POPE"), subset, COLUMNS, "Full") for subset in SUBSETS
    }

    def sample(self, split: str, index: int) -> Sample:
        row = self.rows(split).row(index)
        subset = text_in(row, "category")
        return Sample(
            id=f"{subset}-{row['question_id']}",
            image=image_in(row),
            question=text_in(row, "question").strip(),
            answers=(yes_no_in(row, "answer"),),
            kind=subset,
        )

    def score(self, prediction: str, sample: Sample) -> float:
        return float(pope_answer(prediction) == sample.answers[0])

    def metrics(self, scored: Sequence[Scored]) -> dict[str, float]:
        return pope_metrics(scored)
