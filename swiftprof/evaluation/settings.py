"""What an evaluation measures. Answers under equal settings are never asked for twice."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from swiftprof.planning.plan_file import Plan
from swiftprof.runs.folder import Run, Series
from swiftprof.runs.settings import EXTENT, RunSettings, digest


class VariantSettings(BaseModel):
    """One column of answers: a method at a budget.

    Attributes:
        label: the method as it was asked for, with its options.
        budget: how the budget was asked for, as `192` or `0.333`; empty for the unpruned model.
        plan: the plan's document without where it came from; None for the unpruned model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    budget: str = ""
    plan: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Unique among the variants of a run."""
        return f"{self.label} | {self.budget}" if self.budget else self.label

    @classmethod
    def of(cls, label: str, budget: str = "", plan: Plan | None = None) -> VariantSettings:
        """From a plan; what does not change answers is left out."""
        kept = ("schema", "model", "method", "pruning_layers", "stages", "options")
        document = {k: v for k, v in plan.to_dict().items() if k in kept} if plan else None
        return cls(label=label, budget=budget, plan=document)

    def load(self) -> Plan | None:
        """The plan again."""
        return None if self.plan is None else Plan.model_validate(self.plan)


class EvalSettings(RunSettings):
    """Settings of an evaluation. Methods may be added to a folder, as data sets may."""

    extent: ClassVar[tuple[str, ...]] = (*EXTENT, "variants")

    variants: tuple[VariantSettings, ...] = Field(min_length=1)


def series_of(run: Run[EvalSettings], dataset: str, variant: VariantSettings) -> Series:
    """One variant's answers on one data set, in the order drawn."""
    of_set = run.settings.series_digest(dataset)
    own = digest({"set": of_set, "plan": variant.plan})
    readable = re.sub(r"[^A-Za-z0-9.+=]+", "-", variant.name).strip("-")[:60]
    return Series(f"{dataset}.{readable}-{own[:8]}", own, tuple(run.draw[dataset]))
