"""Plans of several methods at several token budgets, at layers that need no profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swiftprof.errors import BadParameter
from swiftprof.evaluation.specs import Planner, TargetText, parse_spec
from swiftprof.planning.fill import Cost, Target
from swiftprof.planning.plan_file import Plan


def plans_at(
    cost: Cost,
    methods: Sequence[str],
    budgets: tuple[str, list[str], list[float]],
    layers: str | tuple[int, ...] = "own",
) -> dict[str, Plan]:
    """Name of a variant → its plan; the unpruned model has none.

    Args:
        methods: as for `swiftprof eval`.
        budgets: as `BudgetOptions.given` says them.
        layers: of the methods that name none.

    Raises:
        SwiftprofError: unknown methods or impossible budgets.
    """
    name, texts, values = budgets
    if not methods:
        raise BadParameter("methods", None, "no name given, as in fastv,swiftvlm")
    specs = [
        s if s.preset else replace(s, layers=s.layers or layers) for s in map(parse_spec, methods)
    ]
    targets = [
        TargetText(text, Target(**{name: value})) for text, value in zip(texts, values, strict=True)
    ]
    variants = Planner(cost).variants(specs, targets)
    loaded = {variant.name: variant.load() for variant in variants}
    return {name: plan for name, plan in loaded.items() if plan is not None}
