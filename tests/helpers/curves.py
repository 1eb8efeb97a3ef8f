"""A plan from a bare curve, with what most tests leave at its default."""

from __future__ import annotations

from swiftprof.models.registry import ModelInfo
from swiftprof.planning.api import plan_from_curve
from swiftprof.planning.curve import Curve
from swiftprof.planning.fill import Cost, Setting, Target
from swiftprof.planning.plan_file import Plan


def plan_of_curve(curve: Curve, model: ModelInfo | None = None, **target: float) -> Plan:
    """SwiftVLM's plan for three layers."""
    cost = Cost(model or ModelInfo(name="unnamed", num_layers=curve.num_layers), None, 0)
    return plan_from_curve(curve, 3, Target(**target), cost, Setting.of("swiftvlm"))
