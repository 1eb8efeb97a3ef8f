"""How many tokens each layer sees: whole numbers from a plan's fractions, on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from swiftprof.core.counts import kept_count, merged_count
from swiftprof.core.stages import StageLike


class ModelLike(Protocol):
    """The model that a plan was made for."""

    @property
    def num_layers(self) -> int:
        """Decoder layers."""


class PlanLike(Protocol):
    """What the runtime needs to know of a plan."""

    @property
    def method(self) -> str:
        """Name of a method in `swiftprof.methods.REGISTRY`."""

    @property
    def stages(self) -> Sequence[StageLike]:
        """Stages by ascending layer."""

    @property
    def options(self) -> Mapping[str, Any] | None:
        """The method's own settings."""

    @property
    def model(self) -> ModelLike:
        """The model that the plan was made for."""


@dataclass(frozen=True)
class Schedule:
    """Counts for one prefill of B prompts and J stages.

    Attributes:
        visual: visual tokens of each row.
        text: the other tokens of each row, padding excluded.
        kept: `[stage][row]`, visual tokens that stay as they are.
        merged: `[stage][row]`, merged tokens that go on in place of the others.
        rest: `[stage][row]`, candidates that were not kept (merged ones included).
    """

    visual: tuple[int, ...]
    text: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]
    merged: tuple[tuple[int, ...], ...]
    rest: tuple[tuple[int, ...], ...]

    @classmethod
    def make(
        cls,
        stages: Sequence[StageLike],
        visual: Sequence[int],
        text: Sequence[int],
        *,
        merges: bool,
        bypass: bool,
    ) -> Schedule:
        """Fill the counts.

        Args:
            stages: the plan's stages.
            visual: visual tokens of each row.
            text: other tokens of each row.
            merges: the method merges.
            bypass: every stage chooses among all visual tokens, and the last one drops its rest;
                otherwise stages choose among the survivors.
        """
        kept, merged, rest = [], [], []
        available = list(visual)
        for j, stage in enumerate(stages):
            last = j == len(stages) - 1
            k = [
                min(a, kept_count(stage.keep, n)) if n else 0
                for a, n in zip(available, visual, strict=True)
            ]
            r = [a - b for a, b in zip(available, k, strict=True)]
            z = [0] * len(k)
            if merges and not (last and bypass):
                z = [
                    min(merged_count(stage.merge, n, b), c)
                    for n, b, c in zip(visual, k, r, strict=True)
                ]
            kept.append(tuple(k))
            rest.append(tuple(r))
            merged.append(tuple(z))
            if not bypass:
                available = [b + c for b, c in zip(k, z, strict=True)]
        return cls(tuple(visual), tuple(text), tuple(kept), tuple(merged), tuple(rest))

    def lengths(self, stage: int) -> tuple[int, ...]:
        """Tokens of each row after a stage: text, kept and merged."""
        rows = zip(self.text, self.kept[stage], self.merged[stage], strict=True)
        return tuple(t + k + z for t, k, z in rows)

    def is_last(self, stage: int) -> bool:
        """Whether no stage follows."""
        return stage == len(self.kept) - 1

    def present(self, stage: int) -> tuple[int, ...]:
        """Visual tokens of each row from which a stage chooses."""
        return tuple(k + r for k, r in zip(self.kept[stage], self.rest[stage], strict=True))

    def keeps_all(self, stage: int) -> bool:
        """Whether a stage leaves every row as it is."""
        return not any(self.rest[stage])

    def visual_per_layer(self, row: int, cuts: Sequence[int], num_layers: int) -> list[int]:
        """Visual tokens (kept, merged) of a row that enter each layer; their mean is N."""
        counts = [self.visual[row]] * num_layers
        for j, cut in enumerate(cuts):
            counts[cut:] = [self.kept[j][row] + self.merged[j][row]] * (num_layers - cut)
        return counts
