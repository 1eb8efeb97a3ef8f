"""Measuring units with one loaded model: batches that fit, and samples that fail alone.

A batch that runs out of memory is cut in half and tried again, and later batches stay that small. A
batch that fails otherwise is tried once more, then sample by sample; a sample that fails even then
is skipped with its reason. Where nothing has worked yet and every sample of a unit fails, the
trouble may not be with the samples, and the error goes up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from swiftprof.data.asking import Skipped, ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.errors import reason
from swiftprof.models.loading import VLM
from swiftprof.models.memory import (
    BatchSize,
    Prompt,
    most_rows,
    out_of_memory,
    profiling,
    release_memory,
)
from swiftprof.profiling.decode import end_tokens
from swiftprof.profiling.job import Request, Unit
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import answer_scores, answer_tokens, rerun, rerun_scores
from swiftprof.profiling.rows import Row, Settings, parts_of, series_of
from swiftprof.profiling.steps import Steps, check_steps
from swiftprof.runs.folder import Run

OnBatch = Callable[[int], None]
"""Called with the number of samples that are done."""


class NothingWorks(Exception):
    """Every sample of a unit failed, and none of any unit had worked before."""


@dataclass(frozen=True)
class UnitSamples:
    """A unit's samples as the model is shown them, by index, and those that are broken."""

    unit: Unit
    samples: dict[int, Sample]
    broken: Sequence[Skipped]


@dataclass(frozen=True)
class UnitResult:
    """What becomes part of a part: rows by the index of their sample, in the order drawn."""

    unit: Unit
    rows: dict[int, Row]
    skipped: list[Skipped]

    def write(self, folder: Path, run: Run[Settings]) -> None:
        """Put it on disk."""
        series = series_of(run, self.unit.dataset)
        rows = {index: vars(row) for index, row in self.rows.items()}
        parts_of(folder).add(series, self.unit.number, rows, self.skipped)

    def first_look(self) -> str:
        """One answer beside its reference, and the score so far, in one line."""
        name, failed = self.unit.dataset, len(self.skipped)
        if not self.rows:
            return f"{name}: all of the first {failed} samples failed: {self.skipped[0].reason}"
        row, count = next(iter(self.rows.values())), len(self.rows)
        said = f"answer {row.prediction[:60]!r}, " if row.prediction else ""
        mean = sum(each.score for each in self.rows.values()) / count
        return (
            f"{name}: {said}reference {(row.answers or [''])[0][:60]!r}, score {row.score:.3g}; "
            f"mean of the first {count} samples {mean:.3g}"
            + (": the unpruned model is wrong on all of them" if not mean else "")
        )


class Worker:
    """One loaded model that measures units.

    Args:
        vlm: the model.
        request: what the profile was asked for.
        settings: of the run.
        batch_size: samples that run together; None for what memory allows.
        warn: told in one line when a batch had to be made smaller.

    Attributes:
        fitting: how much runs together at first.
        size, max_rows: samples and re-runs that run together now.
    """

    def __init__(
        self,
        vlm: VLM,
        request: Request,
        settings: Settings,
        batch_size: int | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.vlm, self.settings = vlm, settings
        self._steps = check_steps(vlm.model)
        self._sets: Mapping[str, Dataset] = {d.name: d for d in request.sets()}
        self.fitting: BatchSize = profiling(
            Prompt.of(vlm, max(d.max_new_tokens for d in self._sets.values())),
            str(vlm.model.device),
            keep=settings.keep,
            candidates=len(settings.layers),
            samples=batch_size,
        )
        self.size, self.max_rows = self.fitting.samples, self.fitting.rows
        self._warn = warn or (lambda text: None)
        self._worked = False

    def ask(self, unit: Unit) -> UnitSamples:
        """Load a unit's samples. Needs no model and may run beside it, in another thread."""
        name = unit.dataset
        good, broken = ask_all(self._sets[name], self.settings.splits[name], unit.indices, self.vlm)
        bad = {each.index for each in broken}
        usable = [i for i in unit.indices if i not in bad]
        return UnitSamples(unit, dict(zip(usable, good, strict=True)), broken)

    def measure(self, asked: UnitSamples, on_batch: OnBatch | None = None) -> UnitResult:
        """Measure every sample of a unit, or skip it with a reason.

        Raises:
            NothingWorks: every sample failed, and no sample had worked before; its cause says why.
        """
        told = on_batch or (lambda done: None)
        dataset = self._sets[asked.unit.dataset]
        rows: dict[int, Row] = {}
        failed = {each.index: each for each in asked.broken}
        first: Exception | None = None
        told(len(failed))
        waiting = batches(asked.samples, self.size)
        tried: list[int] = []
        while waiting:
            batch = waiting.pop(0)
            samples = [asked.samples[i] for i in batch]
            try:
                found = measure_batch(
                    self.vlm, self._steps, dataset, samples, self.settings, self.max_rows
                )
            except Exception as error:
                first = first or error
                if out_of_memory(error) and self._shrink(len(batch)):
                    rest = [i for each in (batch, *waiting) for i in each]
                    waiting = batches({i: asked.samples[i] for i in rest}, self.size)
                elif batch is not tried and not out_of_memory(error):
                    tried = batch
                    waiting.insert(0, batch)
                elif len(batch) > 1:
                    waiting = [[i] for i in batch] + waiting
                else:
                    failed[batch[0]] = Skipped(batch[0], reason(error))
                    told(1)
            else:
                self._worked = True
                rows |= dict(zip(batch, found, strict=True))
                told(len(batch))
        if first is not None and not rows and not self._worked:
            raise NothingWorks from first
        order = asked.unit.indices
        return UnitResult(
            asked.unit,
            {i: rows[i] for i in order if i in rows},
            [failed[i] for i in order if i in failed],
        )

    def _shrink(self, batch: int) -> bool:
        """Use less memory from now on; false where nothing smaller is left."""
        release_memory()
        if batch > 1:
            self.size = max(1, batch // 2)
            self._warn(f"out of memory with {batch} samples at once; going on with {self.size}")
        elif self.max_rows > 1:
            rows = min(self.max_rows, len(self.settings.layers))
            self.max_rows = max(1, rows // 2) if rows < self.max_rows else self.max_rows // 2
            self._warn(f"out of memory with one sample; going on with {self.max_rows} re-runs")
        else:
            return False
        return True


def measure_batch(
    vlm: VLM,
    steps: Steps,
    dataset: Dataset,
    samples: list[Sample],
    settings: Settings,
    max_rows: int | None = None,
) -> list[Row]:
    """Everything that a profile says of these samples.

    With `nll` for a score it is the likelihood of the reference answers; predictions stay empty.

    Args:
        steps: of the model.
        max_rows: re-runs that run at once, where memory allows; None for what suits the device.
    """
    max_rows = max_rows or most_rows(str(vlm.model.device))
    inputs = vlm.inputs([s.images for s in samples], [s.question for s in samples])
    prompt = inputs["attention_mask"].sum(1).tolist()
    if settings.score == "nll":
        tokenizer = getattr(vlm.processor, "tokenizer", vlm.processor)
        references = [dataset.reference(s) for s in samples]
        answers = answer_tokens(references, tokenizer, vlm.model.device)
        recording = record(steps, inputs, vlm.image_token_id, 1, answers)
        selections = recording.select(settings.keep)
        scores = answer_scores(recording, answers)
        again = rerun_scores(recording, candidates(selections, settings), answers, max_rows)
        said = [""] * len(samples)
        said_again = [[""] * len(each) for each in again]
    else:
        new = dataset.max_new_tokens
        recording = record(steps, inputs, vlm.image_token_id, new)
        selections = recording.select(settings.keep)
        chosen = candidates(selections, settings)
        found = rerun(recording, chosen, new, end_tokens(vlm.model), max_rows)
        said = vlm.decode(recording.generated)
        said_again = [vlm.decode(each) for each in found]
        scores = [dataset.score(a, s) for a, s in zip(said, samples, strict=True)]
        again = [
            [dataset.score(a, s) for a in each] for each, s in zip(said_again, samples, strict=True)
        ]
    n_visual = recording.visual.sum(1).tolist()
    number = recording.visual.cumsum(1) - 1  # slot → number among the visual tokens
    return [
        Row(
            id=sample.id,
            dataset=dataset.name,
            kind=sample.kind,
            question=sample.question,
            answers=list(sample.answers),
            prediction=said[b],
            score=scores[b],
            n_visual=n_visual[b],
            prompt_tokens=prompt[b],
            selection=number[b][selections[b]].tolist(),
            rerun_prediction=said_again[b],
            rerun_score=again[b],
        )
        for b, sample in enumerate(samples)
    ]


def candidates(selections: list[Tensor], settings: Settings) -> list[Tensor]:
    """Selections of the layers that are re-run."""
    layers = torch.tensor(settings.layers, device=selections[0].device) - 1
    return [selection[layers] for selection in selections]


def batches(samples: Mapping[int, Sample], size: int) -> list[list[int]]:
    """Indices of samples of similar question length together: less padding."""
    by_length = sorted(samples, key=lambda index: len(samples[index].question))
    return [by_length[i : i + size] for i in range(0, len(samples), size)]
