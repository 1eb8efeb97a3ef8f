"""Choosing a schedule by measurement: the same layers and tokens, split in several ways."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_datasets
from swiftprof.evaluation.answer import VANILLA, Progress, answer_samples
from swiftprof.models.loading import VLM
from swiftprof.planning.api import PlanWarning, plan
from swiftprof.planning.plan_file import Plan
from swiftprof.planning.schedules import SCHEDULES
from swiftprof.profiling.store import Profile

_PREFERRED = ("geometric", *(name for name in SCHEDULES if name != "geometric"))
"""Ties go to the earlier."""


@dataclass(frozen=True)
class Found:
    """The best schedule, and the measured score of each relative to the unpruned model."""

    best: str
    scores: dict[str, float]


def search_schedule(
    vlm: VLM,
    profile: Profile,
    setting: Mapping[str, Any],
    *,
    samples: int,
    progress: Progress | None = None,
) -> Found:
    """Score the named schedules, then the tilts half-way from the best one to its neighbours.

    Args:
        vlm: the model.
        profile: gives layers, data sets, split; its own samples are not used again, as far as the
            split has others.
        setting: arguments of `swiftprof.plan`, without a schedule.
        samples: calibration samples of each set, the same for all schedules.
        progress: called after every batch with (done, total) samples.
    """

    def measure(names: Sequence[str]) -> dict[str, float]:
        return _measure(vlm, profile, setting, names, samples, progress)

    scores = measure(_PREFERRED)
    scores |= measure(_between(SCHEDULES[_best(scores)]))
    return Found(_best(scores), scores)


def _between(tilt: float) -> list[str]:
    """The tilts half-way to the next smaller and the next larger named one."""
    others = sorted(SCHEDULES.values())
    below, above = ([t for t in others if t < tilt], [t for t in others if t > tilt])
    return [f"{(tilt + near) / 2:g}" for near in (*below[-1:], *above[:1])]


def _best(scores: Mapping[str, float]) -> str:
    """The schedule with the highest score, the first of equals."""
    return max(scores, key=lambda name: scores[name])


def _measure(
    vlm: VLM,
    profile: Profile,
    setting: Mapping[str, Any],
    names: Sequence[str],
    samples: int,
    progress: Progress | None,
) -> dict[str, float]:
    """Score of each schedule relative to the unpruned model, mean over the data sets."""
    plans: dict[str, Plan | None] = {VANILLA: None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        for name in names:
            plans[name] = plan(profile, **{**setting, "schedule": name, "bootstrap": 0})
    settings = profile.summary.settings
    datasets = get_datasets(list(settings.datasets))
    relative: dict[str, list[float]] = {name: [] for name in names}
    for number, dataset in enumerate(datasets):
        split = settings.splits.get(dataset.name, settings.split)
        indices = draw(dataset, split, samples, settings.seed + 1, at_most=True)

        def report(done: int, total: int, before: int = number) -> None:
            if progress:
                progress(before * total + done, len(datasets) * total)

        answers, _ = answer_samples(vlm, dataset, split, indices, plans, progress=report)
        mean = {
            name: float(np.mean([a.score for a in answers if a.variant == name])) for name in plans
        }
        for name in names:
            relative[name].append(mean[name] / mean[VANILLA] if mean[VANILLA] > 0 else 1.0)
    return {name: float(np.mean(values)) for name, values in relative.items()}
