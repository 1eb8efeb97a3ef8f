"""What one profile consists of: settings, drawn samples, and the units that the work is cut into.

A unit is what one part still lacks: samples of one data set. Which samples a part holds depends on
the settings alone, never on who measures it, so units may be handed to any number of processes on
any number of machines, in any order, and be measured again after a failure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from swiftprof.data.base import Dataset
from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_datasets
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.models.loading import VLM
from swiftprof.profiling.rows import Score, Settings, parts_of, series_of
from swiftprof.runs.folder import Run
from swiftprof.runs.settings import common_settings

SAMPLES = 1000
"""Samples a data set, as in the paper."""
FIRST_CANDIDATE = 2
"""x_2 is the base of the plan; layer 1 is recorded but not re-run."""


@dataclass(frozen=True)
class Request:
    """What is asked for; see `swiftprof.profiling.api.profile` for the meaning of each field."""

    datasets: tuple[str | Dataset, ...]
    keep: float = 0.2
    samples: int | None = None
    seed: int = 0
    split: str | None = None
    data_root: str | Path | None = None
    score: Score = "generation"

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise BadParameter("keep", self.keep, "V must lie in (0, 1]; 0.2 keeps a fifth")
        if not self.datasets:
            raise SwiftprofError("no data set named: give at least one, see swiftprof datasets")
        if self.score not in ("generation", "nll"):
            raise BadParameter("score", self.score, "must be generation or nll")

    def sets(self) -> list[Dataset]:
        """The data sets."""
        root = None if self.data_root is None else Path(self.data_root)
        return get_datasets(self.datasets, root)

    def split_of(self, dataset: Dataset) -> str:
        """The split that a set's samples are drawn from."""
        return self.split or dataset.train_split


@dataclass(frozen=True)
class Unit:
    """One piece of the work.

    Attributes:
        dataset: name of the data set.
        number: of the part that it fills.
        indices: the samples, in the order drawn.
    """

    dataset: str
    number: int
    indices: tuple[int, ...] = field(repr=False)


def prepare(vlm: VLM, request: Request) -> Run[Settings]:
    """Draw the samples and write down everything that decides the result.

    Raises:
        SwiftprofError: a data set or split that does not exist, weights that are not finite.
    """
    sets = request.sets()
    splits = {d.name: request.split_of(d) for d in sets}
    common = common_settings(vlm, sets, splits, request.score)
    samples = SAMPLES if request.samples is None else request.samples
    settings = Settings(
        **common,
        decoder=vlm.decoder_shape,
        samples=samples,
        keep=request.keep,
        seed=request.seed,
        layers=tuple(range(FIRST_CANDIDATE, vlm.num_layers + 1)),
        score=request.score,
    )
    at_most = request.samples is None
    drawn = {d.name: draw(d, splits[d.name], samples, request.seed, at_most=at_most) for d in sets}
    return Run[Settings](settings=settings, draw=drawn)


def units(run: Run[Settings]) -> list[Unit]:
    """All units of a run: the first of every data set, so that trouble shows early, then the rest,
    set by set.
    """
    every = [
        Unit(name, number, indices)
        for name in run.settings.datasets
        for number, indices in enumerate(series_of(run, name).chunks())
    ]
    return sorted(every, key=lambda unit: unit.number > 0)


def missing_units(folder: Path, run: Run[Settings]) -> list[Unit]:
    """What is still to be measured, in the order of `units`.

    Raises:
        SwiftprofError: a part of other settings lies in the folder.
    """
    parts = parts_of(folder)
    lacking = {name: parts.missing(series_of(run, name)) for name in run.settings.datasets}
    return [
        Unit(unit.dataset, unit.number, lacking[unit.dataset][unit.number])
        for unit in units(run)
        if unit.number in lacking[unit.dataset]
    ]


T = TypeVar("T")

_LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "Slurm": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}
"""Variables with a process's number, how many there are, and its number on its machine.

Slurm's number of tasks is the step's, which only `srun` sets: a batch script that calls swiftprof
once without `srun` is one process, however many tasks the job has.
"""


@dataclass(frozen=True)
class Shard:
    """Every `count`-th unit, beginning with number `index` (from 0).

    Attributes:
        local: number among the processes of one machine, hence its GPU; None where not known.
        origin: who said so, for messages.
    """

    index: int = 0
    count: int = 1
    local: int | None = None
    origin: str = ""

    def of(self, work: Sequence[T]) -> list[T]:
        """This shard's share."""
        return list(work[self.index :: self.count])

    def device(self, asked: str) -> str:
        """The device for `--device`: `auto` means the GPU with the process's local number."""
        if asked != "auto" or self.local is None or self.count == 1:
            return asked
        import torch

        gpus = torch.cuda.device_count()
        return f"cuda:{self.local % gpus}" if gpus > 1 else asked


def choose_shard(
    index: int | None, count: int | None, environment: Mapping[str, str] | None = None
) -> Shard:
    """From `--shard-index` and `--num-shards`, else from the launcher's environment, else all.

    Raises:
        SwiftprofError: one of the options without the other, or an index out of range.
    """
    if (index is None) != (count is None) and count != 1:
        raise BadParameter("num_shards and shard_index", None, "give both of them")
    if count is not None:
        if not 0 <= (index or 0) < count:
            raise BadParameter("shard_index", index, f"must be from 0 to {count - 1}")
        return Shard(index or 0, count, origin="`num_shards`")
    variables = os.environ if environment is None else environment
    for name, (rank, size, local) in _LAUNCHERS.items():
        if rank in variables and size in variables:
            said = variables[rank], variables[size], variables.get(local, variables[rank])
            if all(map(str.isdecimal, said)) and int(said[0]) < int(said[1]):
                index, count, place = map(int, said)
                return Shard(index, count, place, name)
    return Shard()
