"""Many plans answering the same samples, in resumable chunks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftprof.analysis.base import Progress
from swiftprof.analysis.sampling import Sampling
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA
from swiftprof.evaluation.api import evaluate
from swiftprof.evaluation.settings import VariantSettings
from swiftprof.planning.plan_file import Plan

Floats = NDArray[np.float64]

CHUNK = 40
"""Plans that answer together; a chunk is its own resumable evaluation."""


@dataclass(frozen=True)
class Measured:
    """Scores of every plan: label -> data set -> scores of the samples, in one order."""

    scores: dict[str, dict[str, Floats]]
    vanilla: dict[str, Floats]
    skipped: dict[str, int]

    def relative(self, name: str, half: int | None = None) -> float:
        """Mean over sets of score relative to vanilla; of the samples of one half (0 or 1)."""
        part = slice(half, None, None if half is None else 2)
        ratios = [
            each[part].mean() / max(self.vanilla[dataset][part].mean(), 1e-12)
            for dataset, each in self.scores[name].items()
        ]
        return float(np.mean(ratios))


def answer_with(
    sampling: Sampling,
    plans: Mapping[str, Plan],
    folder: Path,
    progress: Progress | None = None,
) -> Measured:
    """Answer the samples with every plan; finished parts in the folder are not made again."""
    names = list(plans)
    asked = (sampling.samples, sampling.seed, sampling.split)
    scores: dict[str, dict[str, Floats]] = {each: {} for each in names}
    vanilla: dict[str, Floats] = {}
    skipped: dict[str, int] = {}
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    for number, chunk in enumerate(chunks):
        variants = [VariantSettings.of(each, "", plans[each]) for each in chunk]

        def report(done: int, total: int, number: int = number) -> None:
            if progress:
                progress(number * total + done, len(chunks) * total)

        sets = [d.name for d in sampling.datasets]
        done = evaluate(
            sampling.vlm,
            variants,
            list(sampling.datasets),
            samples=sampling.samples,
            seed=sampling.seed,
            split=sampling.split,
            batch_size=sampling.batch_size,
            out=folder / digest([v.plan for v in variants], sets, *asked),
            progress=report,
        )
        read = done.scores
        for each in chunk:
            scores[each] = dict(read[each])
        vanilla = dict(read[VANILLA])
        skipped = {name: len(each) for name, each in done.skipped.items() if each}
    for name, base in vanilla.items():
        whole = ~np.isnan([each[name] for each in scores.values()]).any(axis=0)
        if not whole.any():
            raise SwiftprofError(f"data set {name}: some layers fail on every sample")
        if lost := int((~whole).sum()):
            skipped[name] = skipped.get(name, 0) + lost
        vanilla[name] = base[whole]
        for mine in scores.values():
            mine[name] = mine[name][whole]
    return Measured(scores, vanilla, skipped)


def digest(*settings: object) -> str:
    """Short name of a comparison, so that another one does not get in its way."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
