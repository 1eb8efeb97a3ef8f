"""MME: two yes-or-no questions an image, fourteen categories.

Example: "Is there a bottle in this image? Please answer yes or no." → ``Yes``. A category is worth
100 for questions plus 100 for pairs that are right in both; samples are drawn as whole pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swiftprof.data.base import Sample, Scored
from swiftprof.data.hosted import HostedDataset, hub, image_in, text_in, yes_no_in
from swiftprof.data.scoring.yes_no import mme_answer, mme_metrics
from swiftprof.data.sources.find import Part
from swiftprof.data.wording import SHORT_ANSWER

COLUMNS = ("question_id", "image", "question", "answer", "category")
_ASKS_FOR = " Please answer yes or no."


class MME(HostedDataset):
    name = "mme"
    description = "pairs of yes-or-no questions on perception and cognition"
    metric = "accuracy, perception and cognition over pairs"
    licence = "undeclared; research use"
    max_new_tokens = 8
    published: Mapping[str, int] = {"test": 2_374}
    parts: Mapping[str, Part] = {"test": Part(hub("MME"), "test", COLUMNS)}

    def groups(self, split: str) -> Sequence[Sequence[int]]:
        rows = self.rows(split)
        pairs: dict[tuple[str, str], list[int]] = {}
        names = zip(rows.column("category"), rows.column("question_id"), strict=True)
        for index, (category, image) in enumerate(names):
            pairs.setdefault((str(category), str(image)), []).append(index)
        return list(pairs.values())

    def sample(self, split: str, index: int) -> Sample:
        row = self.rows(split).row(index)
        image = text_in(row, "question_id")
        return Sample(
            id=f"{index:05d}-{image}",
            image=image_in(row),
            question=text_in(row, "question").strip(),
            answers=(yes_no_in(row, "answer"),),
            kind=text_in(row, "category"),
            group=image,
        )

    def prompt(self, sample: Sample, style: str) -> str:
        return sample.question.replace(_ASKS_FOR, "") + SHORT_ANSWER

    def score(self, prediction: str, sample: Sample) -> float:
        return float(mme_answer(prediction) == sample.answers[0])

    def metrics(self, scored: Sequence[Scored]) -> dict[str, float]:
        return mme_metrics(scored)
