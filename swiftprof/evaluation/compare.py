"""Several variants of one model (vanilla, plans) on one data set, summed up in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftprof.data.asking import Skipped
from swiftprof.data.base import Dataset, Scored
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import (
    Answer,
    Progress,
    Variants,
    answer_samples,
    check_plans,
)
from swiftprof.models.loading import VLM


@dataclass
class Outcome:
    """What one variant did on one data set. Lists run over the samples, in the order drawn.

    Attributes:
        split: the split that the samples are from.
        protocol: how the score came about, in one line.
        source: where the samples came from, with the revision.
        metrics: metrics of the whole set, beside the mean score.
        skipped: samples that could not be used, the same for every variant.
        retained: per sample the retained tokens N that were really there (mean over layers).
        tflops: per sample the prefill's TFLOPs (paper eq. 17-19) from the counts that were there.
        seconds: wall time of all ``generate`` calls.
    """

    variant: str
    dataset: str
    ids: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    predictions: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    retained: list[float] = field(default_factory=list)
    tflops: list[float] = field(default_factory=list)
    seconds: float = 0.0
    split: str = ""
    protocol: str = ""
    source: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    answers: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def score(self) -> float:
        return sum(self.scores) / len(self.scores)

    def score_by_kind(self) -> dict[str, float]:
        """Mean score of each kind of question; empty where the set has no kinds."""
        if not any(self.kinds):
            return {}
        groups: dict[str, list[float]] = {}
        for kind, score in zip(self.kinds, self.scores, strict=True):
            groups.setdefault(kind, []).append(score)
        return {k: sum(v) / len(v) for k, v in sorted(groups.items())}

    def summary(self) -> dict[str, Any]:
        n = len(self.scores)
        return {
            "variant": self.variant,
            "dataset": self.dataset,
            "samples": n,
            "score": self.score,
            "score_by_kind": self.score_by_kind(),
            "metrics": self.metrics,
            "split": self.split,
            "protocol": self.protocol,
            "source": self.source,
            "skipped": [vars(s) for s in self.skipped],
            "retained_tokens": sum(self.retained) / n,
            "tflops": sum(self.tflops) / n,
            "seconds": self.seconds,
        }


def compare(
    vlm: VLM,
    dataset: Dataset,
    indices: Sequence[int],
    variants: Variants,
    *,
    split: str = "test",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Greedy answers of every variant on the samples ``indices`` of a split.

    Args:
        variants: name → plan; None is the vanilla model.

    Raises:
        SwiftprofError: a plan does not fit the model, or every sample is broken.
    """
    check_plans(vlm, variants)
    answers, skipped = answer_samples(
        vlm, dataset, split, indices, variants, batch_size=batch_size, progress=progress
    )
    if not answers:
        raise SwiftprofError(
            f"data set {dataset.name}: none of {len(skipped)} samples can be used; "
            f"the first: {skipped[0].reason}"
        )
    protocol, source = dataset.protocol(vlm.conventions), dataset.source(split)
    out = {}
    for name in variants:
        mine = [a for a in answers if a.variant == name]
        out[name] = Outcome(
            variant=name,
            dataset=dataset.name,
            ids=[a.id for a in mine],
            kinds=[a.kind for a in mine],
            predictions=[a.prediction for a in mine],
            scores=[a.score for a in mine],
            retained=[a.retained for a in mine],
            tflops=[a.tflops for a in mine],
            seconds=sum(a.seconds for a in mine),
            split=split,
            protocol=protocol,
            source=source,
            metrics=set_metrics(dataset, mine),
            skipped=skipped,
            groups=[a.group for a in mine],
            answers=[a.answers for a in mine],
        )
    return out


def set_metrics(dataset: Dataset, answers: Sequence[Answer]) -> dict[str, float]:
    """Metrics of the whole set beside the mean score, for the answers of one variant."""
    return dataset.metrics(
        [Scored(a.kind, a.group, a.answers, a.prediction, a.score) for a in answers]
    )
