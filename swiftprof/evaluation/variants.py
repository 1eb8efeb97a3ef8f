"""A plan beside the same plan without its ideas: what does each of them bring?"""

from __future__ import annotations

from swiftprof.planning.plan_file import Plan, Stage


def without_merging(plan: Plan, method: str) -> Plan:
    """The same layers and the same number of tokens at every layer, by a method without merging.

    Each stage keeps as many tokens as the plan keeps and merges together.
    """
    stages = tuple(
        Stage(layer=s.layer, keep=min(1.0, s.keep + s.merge), merge=0.0) for s in plan.stages
    )
    return plan.model_copy(update={"method": method, "stages": stages, "options": {}})


def variants_of(plan: Plan) -> dict[str, Plan]:
    """The plan, dropping instead of bypass, and a random selection; equal tokens at every layer."""
    return {
        "bypass": plan,
        "drop": without_merging(plan, "drop"),
        "random": without_merging(plan, "random"),
    }
