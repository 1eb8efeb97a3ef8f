"""GQA: compositional questions about scenes, one answer each.

Example: "Is the sky dark?" → ``yes``; exact match. Questions and images are two configurations of
one repository, joined by ``imageId``. The index runs over the questions in the order of their
images, so that the questions of a block share row groups of images.
"""

from __future__ import annotations

from collections.abc import Mapping

from swiftprof.data.base import Sample
from swiftprof.data.hosted import HostedDataset, hub, image_in, text_in
from swiftprof.data.scoring.exact import gqa_match
from swiftprof.data.sources.find import Part
from swiftprof.errors import BadSample

QUESTIONS = ("id", "imageId", "question", "answer")
IMAGES = ("id", "image")
_CONFIGURATION = {"train": "train_balanced", "val": "val_balanced", "testdev": "testdev_balanced"}


class GQA(HostedDataset):
    name = "gqa"
    description = "compositional questions about scenes"
    metric = "exact match"
    licence = "MIT (repository), images: Visual Genome, CC BY 4.0"
    eval_split = "testdev"
    block = 1_300  # about a row group of a hundred images, at 13 questions each
    published: Mapping[str, int] = {"train": 943_000, "val": 132_062, "testdev": 12_578}
    megabytes: Mapping[str, int] = {"train": 184}
    parts: Mapping[str, Part] = {
        split: Part(hub("GQA"), split, QUESTIONS, f"{name}_instructions")
        for split, name in _CONFIGURATION.items()
    }
    images: Mapping[str, Part] = {
        split: Part(hub("GQA"), split, IMAGES, f"{name}_images", in_part=True)
        for split, name in _CONFIGURATION.items()
    }

    def _reset(self) -> None:
        super()._reset()
        self._joined: dict[str, list[tuple[int, int]]] = {}

    def sample(self, split: str, index: int) -> Sample:
        question, image = self._order(split)[index]
        row = self.rows(split).row(question)
        if image < 0:
            raise BadSample(f"imageId {row['imageId']!r} is not among the images")
        return Sample(
            id=str(row["id"]),
            image=image_in(self.open(self.images[split]).row(image)),
            question=text_in(row, "question"),
            answers=(text_in(row, "answer"),),
        )

    def score(self, prediction: str, sample: Sample) -> float:
        return gqa_match(prediction, sample.answers[0])

    def _order(self, split: str) -> list[tuple[int, int]]:
        """(row of the question, row of its image or -1), in the order of images."""
        if split not in self._joined:
            wanted = self.rows(split).column("imageId")
            ids = self.open(self.images[split]).column("id")
            place = {str(id): row for row, id in enumerate(ids)}
            pairs = [(row, place.get(str(id), -1)) for row, id in enumerate(wanted)]
            self._joined[split] = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
        return self._joined[split]
