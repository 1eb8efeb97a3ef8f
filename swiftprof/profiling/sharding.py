"""Splitting a profile among processes that somebody else starts: by hand, torchrun or Slurm."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from swiftprof.errors import BadParameter

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
    if count is not None:
        if count < 1:
            raise BadParameter("num_shards", count, "must be at least 1")
        if index is None and count > 1:
            raise BadParameter(
                "num_shards", count, f"also needs `shard_index`, from 0 to {count - 1}"
            )
        index = index or 0
        if not 0 <= index < count:
            raise BadParameter("shard_index", index, f"must be from 0 to {count - 1}")
        return Shard(index, count, origin="`num_shards`")
    if index is not None:
        raise BadParameter("shard_index", index, "also needs `num_shards`")
    variables = os.environ if environment is None else environment
    for name, (rank, size, local) in _LAUNCHERS.items():
        if rank in variables and size in variables:
            try:
                found = Shard(
                    int(variables[rank]),
                    int(variables[size]),
                    int(variables.get(local, variables[rank])),
                    name,
                )
            except ValueError:
                continue
            if 0 <= found.index < found.count:
                return found
    return Shard()
