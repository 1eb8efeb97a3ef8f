"""Measuring what an evaluation's folder still lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA, Answer, Failed, Progress, answer_samples
from swiftprof.evaluation.settings import EvalSettings, VariantSettings, series_of
from swiftprof.evaluation.store import parts_of
from swiftprof.models.loading import VLM
from swiftprof.runs.folder import Run


@dataclass(frozen=True)
class _Work:
    """Samples that the same variants lack in parts of one number."""

    dataset: Dataset
    number: int
    indices: tuple[int, ...]
    variants: tuple[VariantSettings, ...]


def fill(
    vlm: VLM,
    datasets: Sequence[Dataset],
    run: Run[EvalSettings],
    folder: Path,
    batch_size: int,
    progress: Progress | None,
    note: Callable[[str], None],
) -> None:
    """Ask what is missing: the first samples of every data set first, so that trouble shows early.

    Raises:
        SwiftprofError: nothing works on the first samples of any data set.
    """
    variants = run.settings.variants
    plans = {v.name: v.load() for v in variants}
    total = sum(map(len, run.draw.values())) * len(variants)
    work = _missing(datasets, run, folder)
    done = total - sum(len(each.indices) * len(each.variants) for each in work)
    put_off: list[tuple[_Work, Sequence[Answer], Failed]] = []
    for each in work:
        step = _step(progress, done // len(variants), total // len(variants))
        answers, failed = answer_samples(
            vlm,
            each.dataset,
            run.settings.splits[each.dataset.name],
            each.indices,
            {v.name: plans[v.name] for v in each.variants},
            batch_size=batch_size,
            progress=step,
            places={index: n for n, index in enumerate(run.draw[each.dataset.name])},
        )
        done += len(each.indices) * len(each.variants)
        put_off.append((each, answers, failed))
        if not answers:
            if {w.dataset.name for w, *_ in put_off} == {w.dataset.name for w in work}:
                name, lost = next(iter(failed.items()))
                raise SwiftprofError(
                    f"nothing can be asked of {vlm.name}: all of the first {len(lost)} samples of "
                    f"{each.dataset.name} failed with {name}, the first: {lost[0].reason}"
                )
            continue
        # Something works, so what was put off is a matter of its samples, which are skipped.
        while put_off:
            _write(folder, run, *put_off.pop(0))
        if each.number == 0 and (firsts := [a for a in answers if a.variant == VANILLA]):
            note(first_look(each.dataset.name, firsts))
    for late in put_off:
        _write(folder, run, *late)
    if progress:
        progress(total // len(variants), total // len(variants))


def first_look(name: str, answers: Sequence[Answer]) -> str:
    """One answer beside its reference, and the score so far, in one line."""
    one, mean = answers[0], sum(a.score for a in answers) / len(answers)
    return (
        f"{name}: answer {one.prediction[:60]!r}, reference {(one.answers or ('',))[0][:60]!r}, "
        f"score {one.score:.3g}; mean of the first {len(answers)} samples {mean:.3g}"
        + (": the unpruned model is wrong on all of them" if not mean else "")
    )


def _missing(datasets: Sequence[Dataset], run: Run[EvalSettings], folder: Path) -> list[_Work]:
    work: list[_Work] = []
    parts = parts_of(folder)
    for dataset in datasets:
        lacking: dict[tuple[int, tuple[int, ...]], list[VariantSettings]] = {}
        for variant in run.settings.variants:
            for number, rest in parts.missing(series_of(run, dataset.name, variant)).items():
                lacking.setdefault((number, rest), []).append(variant)
        work += [
            _Work(dataset, number, rest, tuple(variants))
            for (number, rest), variants in sorted(lacking.items(), key=lambda item: item[0])
        ]
    return sorted(work, key=lambda each: each.number > 0)


def _write(
    folder: Path,
    run: Run[EvalSettings],
    work: _Work,
    answers: Sequence[Answer],
    failed: Failed,
) -> None:
    index_of = run.draw[work.dataset.name]
    for variant in work.variants:
        rows = {index_of[a.place]: vars(a) for a in answers if a.variant == variant.name}
        series = series_of(run, work.dataset.name, variant)
        parts_of(folder).add(series, work.number, rows, failed[variant.name])


def _step(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    tell = progress
    return lambda done, _: tell(min(total, before + done), total)
