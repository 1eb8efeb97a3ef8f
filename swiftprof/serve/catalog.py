"""What a request's `model` may name: the unpruned model, and plans, each at several budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftprof.errors import BadParameter
from swiftprof.planning.fill import Cost, Setting, fill_plan
from swiftprof.planning.plan_file import Plan
from swiftprof.serve.errors import ApiError

VANILLA = "vanilla"


@dataclass(frozen=True)
class Variant:
    """A way to answer.

    Attributes:
        name: what a request's `model` says.
        plan: None for the unpruned model.
        family: the plan's name without a budget.
        budget: for people: "own", or the ratio as it was typed.
    """

    name: str
    plan: Plan | None
    family: str
    budget: str = "own"

    def card(self) -> dict[str, Any]:
        """Facts for `/v1/models` and for the page."""
        if self.plan is None:
            return {"plan": None}
        plan = self.plan
        return {
            "plan": self.family,
            "budget": self.budget,
            "method": plan.method,
            "pruning_layers": list(plan.pruning_layers),
            "ratio": round(plan.retained(1_000_000) / 1_000_000, 4),
        }


def catalog(plans: Mapping[str, Plan], ratios: Sequence[str] = ()) -> dict[str, Variant]:
    """All variants by name; `plan@1/3` is the plan's layers with another budget.

    Raises:
        BadParameter: a name that is taken, or a budget that some plan's layers do not allow.
    """
    found = {VANILLA: Variant(VANILLA, None, VANILLA)}
    for name, plan in plans.items():
        if name in found:
            raise BadParameter("plan", name, "the unpruned model has this name; type NAME=FILE")
        found[name] = Variant(name, plan, name)
        for ratio in ratios:
            filled = _refilled(plan, ratio)
            found[f"{name}@{ratio}"] = Variant(f"{name}@{ratio}", filled, name, ratio)
    return found


def choose(variants: Mapping[str, Variant], name: str) -> Variant:
    """The variant of a request. Raises ApiError."""
    if name in variants:
        return variants[name]
    known = ", ".join(variants)
    raise ApiError(
        404,
        f"the model {name[:100]!r} does not exist here; this server has {known}",
        param="model",
        code="model_not_found",
    )


def _refilled(plan: Plan, ratio: str) -> Plan:
    above, slash, below = ratio.partition("/")
    try:
        share = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        share = 0.0
    if not 0 < share < 1:
        raise BadParameter("ratio", ratio, "must be a fraction between 0 and 1, as 1/3")
    setting, cost = Setting.of(plan.method, plan.options), Cost(plan.model, None, 0.0)
    return fill_plan(plan.pruning_layers, share * cost.tokens, cost, setting, source=plan.source)
