"""What an evaluation measures. Two runs with equal settings may share their parts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from swiftprof.planning.plan_file import ModelInfo, Plan


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
        document = plan.to_dict() if plan is not None else None
        if document is not None:
            document = {k: v for k, v in document.items() if k in kept}
        return cls(label=label, budget=budget, plan=document)

    def load(self) -> Plan | None:
        """The plan again."""
        return None if self.plan is None else Plan.model_validate(self.plan)


class EvalSettings(BaseModel):
    """Everything that decides the answers; parts of different settings never mix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelInfo
    datasets: tuple[str, ...] = Field(min_length=1)
    splits: dict[str, str]
    samples: int = Field(ge=1)
    seed: int = 0
    dtype: str = "float32"
    attention: str = "sdpa"
    loading: tuple[str, ...] = ()
    protocol: dict[str, str] = {}
    sources: dict[str, str] = {}
    variants: tuple[VariantSettings, ...] = Field(min_length=1)

    def digest(self) -> str:
        """Short name of these settings."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def difference(self, other: EvalSettings) -> str:
        """Names and values of the settings that differ, for messages."""
        ours, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        parts = [
            f"{key}: {ours[key]} here, {theirs[key]} there"
            for key in ours
            if ours[key] != theirs[key] and key != "variants"
        ]
        mine, yours = ({v.name: v for v in each.variants} for each in (self, other))
        if mine != yours:
            only = [f"only here: {', '.join(n for n in mine if n not in yours)}"]
            only += [f"only there: {', '.join(n for n in yours if n not in mine)}"]
            changed = [n for n in mine if n in yours and mine[n] != yours[n]]
            only += [f"other plans: {', '.join(changed)}"]
            parts.append("methods: " + "; ".join(each for each in only if not each.endswith(": ")))
        elif self.variants != other.variants:
            parts.append("methods: in another order")
        return "; ".join(parts)
