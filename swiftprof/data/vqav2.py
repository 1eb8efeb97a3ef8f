"""VQAv2: open questions about COCO images, each answered by ten people.

Example: "How many zebras are there?" → ``2``; official VQA accuracy by the tool's present rule;
``vqav2-old`` scores by the rule that it had until 2021. lmms-lab's repository has no train split;
it comes from Multimodal-Fatima's. ``test`` and ``testdev`` have no answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from swiftprof.data.base import Sample
from swiftprof.data.hosted import HostedDataset, hub, image_in, text_in, texts_in
from swiftprof.data.scoring.vqa import old_vqa_accuracy, vqa_accuracy
from swiftprof.data.sources.find import Part

COLUMNS = ("question_id", "question", "image", "answers")


class VQAv2(HostedDataset):
    name = "vqav2"
    description = "open questions about COCO images"
    metric = "VQA accuracy"
    licence = "CC BY 4.0, images: Flickr terms (COCO); the train copy declares none"
    eval_split = "validation"
    block = 100
    published: Mapping[str, int] = {"train": 443_757, "validation": 214_354}
    parts: Mapping[str, Part] = {
        "train": Part(("Multimodal-Fatima/VQAv2_train",), "train", COLUMNS, in_part=True),
        "validation": Part(hub("VQAv2"), "validation", COLUMNS, in_part=True),
    }

    def sample(self, split: str, index: int) -> Sample:
        row = self.rows(split).row(index)
        return Sample(
            id=str(row["question_id"]),
            image=image_in(row),
            question=text_in(row, "question"),
            answers=texts_in(row, "answers"),
        )

    def score(self, prediction: str, sample: Sample) -> float:
        return vqa_accuracy(prediction, sample.answers)


class VQAv2ByTheOldRule(VQAv2):
    name = "vqav2-old"
    description = "vqav2, scored as the official tool did until 2021"
    metric = "VQA accuracy (rule until 2021)"

    def score(self, prediction: str, sample: Sample) -> float:
        return old_vqa_accuracy(prediction, sample.answers)
