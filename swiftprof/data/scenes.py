"""The bundled data sets: questions about **synthetic scenes**, drawn on demand from seeds.

A sample is a function of (data set, split, index): nothing is stored, nothing is downloaded.
Train and test have different seeds, and neither shares one with the scenes the bundled model was
trained on. Example (``scenes-ref``): "Where is the thing left of the red star?" →
``[0.02, 0.31, 0.19, 0.48]``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from swiftprof.data.base import Dataset, Sample
from swiftprof.data.scoring.boxes import acc_at_half
from swiftprof.data.scoring.exact import exact_match
from swiftprof.models.conventions import Conventions
from swiftprof.tiny.scenes.graph import draw_scene
from swiftprof.tiny.scenes.questions import ask
from swiftprof.tiny.scenes.render import render

SPLITS = {"train": 20_000, "test": 5_000}


class ScenesDataset(Dataset):
    """One family of questions about synthetic scenes; ``mix`` weighs its kinds."""

    mix: Mapping[str, float]
    metric = "exact match"
    max_new_tokens = 5
    licence = "Apache-2.0 (synthetic scenes)"

    @property
    def splits(self) -> Mapping[str, int]:
        return SPLITS

    def sample(self, split: str, index: int) -> Sample:
        if not 0 <= index < SPLITS[split]:
            raise IndexError(f"{self.name} {split} has {SPLITS[split]} samples, no number {index}")
        rng = random.Random(f"{self.name}/{split}/{index}")
        kind = rng.choices(list(self.mix), list(self.mix.values()))[0]
        while True:  # a scene that does not allow this kind of question is drawn again
            scene = draw_scene(rng)
            questions = ask(rng, scene, {kind: 1.0}, 1)
            if questions:
                break
        question = questions[0]
        return Sample(
            id=f"{split}-{index:05d}",
            image=render(scene),
            question=question.text,
            answers=(question.answer,),
            kind=kind,
        )

    def wording(self, conventions: Conventions) -> str:
        return "questions as they stand"

    def score(self, prediction: str, sample: Sample) -> float:
        if self.localization:
            return acc_at_half(prediction, sample.answers[0])
        return exact_match(prediction, sample.answers)


class ScenesRef(ScenesDataset):
    name = "scenes-ref"
    description = "synthetic scenes: referring expression to box"
    metric = "ACC@0.5"
    localization = True
    max_new_tokens = 12
    mix: Mapping[str, float] = {"ref-name": 1.5, "ref-extreme": 1.0, "ref-rel": 2.5}


class ScenesText(ScenesDataset):
    name = "scenes-text"
    description = "synthetic scenes: read the three letters on a sign"
    mix: Mapping[str, float] = {"text-name": 3.0, "text-extreme": 1.0, "text-rel": 1.0}


class ScenesQA(ScenesDataset):
    name = "scenes-qa"
    description = "synthetic scenes: colour, shape, count, yes/no, relations"
    mix: Mapping[str, float] = {
        "color": 1.5,
        "shape": 1.5,
        "count": 1.5,
        "exists": 1.5,
        "color-rel": 2.0,
        "shape-rel": 2.0,
    }
