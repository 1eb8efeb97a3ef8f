"""Measuring units with one loaded model: batches that fit, and samples that fail alone.

A batch that runs out of memory is cut in half and tried again, and later batches stay that small. A
batch that fails otherwise is tried once more, then sample by sample; a sample that fails even then
is skipped with its reason. Where nothing has worked yet and every sample of a unit fails, the
trouble is not with the samples, and the error goes up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from swiftprof.data.asking import Skipped, ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.models.batch_size import BatchSize, Prompt, profiling
from swiftprof.models.loading import VLM
from swiftprof.profiling.conformance import check_steps
from swiftprof.profiling.faults import free_memory, out_of_memory, reason
from swiftprof.profiling.job import Request, Unit
from swiftprof.profiling.measure import batches, measure_batch
from swiftprof.profiling.parts import Row
from swiftprof.profiling.settings import Settings

OnBatch = Callable[[int], None]
"""Called with the number of samples that are done."""


@dataclass(frozen=True)
class Asked:
    """A unit's samples as the model is shown them, and those that are broken."""

    unit: Unit
    samples: Sequence[Sample]
    broken: Sequence[Skipped]


@dataclass(frozen=True)
class Measured:
    """What becomes one part."""

    unit: Unit
    rows: list[Row]
    skipped: list[Skipped]


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
        check_steps(vlm.model)
        self.vlm, self.settings = vlm, settings
        self._sets: Mapping[str, Dataset] = {d.name: d for d in request.sets()}
        self.fitting: BatchSize = profiling(
            Prompt.of(vlm, max(d.max_new_tokens for d in self._sets.values())),
            str(vlm.model.device),
            keep=settings.keep,
            candidates=len(settings.layers),
            samples=batch_size,
        )
        self.size, self.max_rows = self.fitting.samples, self.fitting.rows
        self._splits = {d.name: request.split_of(d) for d in self._sets.values()}
        self._warn = warn or (lambda text: None)
        self._worked = False

    def ask(self, unit: Unit) -> Asked:
        """Load a unit's samples. Needs no model and may run beside it, in another thread."""
        split = self._splits[unit.dataset]
        good, broken = ask_all(self._sets[unit.dataset], split, unit.indices, self.vlm)
        return Asked(unit, good, broken)

    def measure(self, asked: Asked, on_batch: OnBatch | None = None) -> Measured:
        """Measure every sample of a unit, or skip it with a reason.

        Raises:
            Exception: every sample failed, and no sample had worked before.
        """
        told = on_batch or (lambda done: None)
        dataset = self._sets[asked.unit.dataset]
        bad = {each.index for each in asked.broken}
        index = dict(
            zip(
                (s.id for s in asked.samples),
                (i for i in asked.unit.indices if i not in bad),
                strict=True,
            )
        )
        settings, layers = self.settings, asked.unit.layers
        if layers is not None:
            settings = settings.model_copy(update={"layers": layers})
        rows: list[Row] = []
        failed: list[Skipped] = []
        first: Exception | None = None
        told(len(bad))
        waiting = batches(asked.samples, self.size)
        tried: list[Sample] = []
        while waiting:
            batch = waiting.pop(0)
            try:
                rows += measure_batch(self.vlm, dataset, batch, settings, self.max_rows)
            except Exception as error:
                first = first or error
                if out_of_memory(error) and self._shrink(len(batch)):
                    waiting = batches(batch, self.size) + batches(_flat(waiting), self.size)
                elif batch is not tried and not out_of_memory(error):
                    tried = batch
                    waiting.insert(0, batch)
                elif len(batch) > 1:
                    waiting = [[sample] for sample in batch] + waiting
                else:
                    failed.append(Skipped(index[batch[0].id], reason(error)))
                    told(1)
            else:
                self._worked = True
                told(len(batch))
        if first is not None and not rows and not self._worked:
            raise first
        place = {sample.id: n for n, sample in enumerate(asked.samples)}
        rows.sort(key=lambda row: place[row.id])
        if layers is not None:
            rows = [_among(row, layers, self.settings.layers) for row in rows]
        order = {i: n for n, i in enumerate(asked.unit.indices)}
        skipped = sorted([*asked.broken, *failed], key=lambda each: order[each.index])
        return Measured(asked.unit, rows, skipped)

    def _shrink(self, batch: int) -> bool:
        """Use less memory from now on; false where nothing smaller is left."""
        free_memory()
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


def _among(row: Row, layers: Sequence[int], candidates: Sequence[int]) -> Row:
    """A row of some layers' re-runs as one of all candidates; the others' places stay empty."""
    answers = dict(zip(layers, row.rerun_prediction, strict=True))
    scores = dict(zip(layers, row.rerun_score, strict=True))
    return replace(
        row,
        rerun_prediction=[answers.get(layer) for layer in candidates],
        rerun_score=[scores.get(layer) for layer in candidates],
    )


def _flat(waiting: Sequence[Sequence[Sample]]) -> list[Sample]:
    return [sample for batch in waiting for sample in batch]
