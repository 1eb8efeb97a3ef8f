"""A plan's token budget in words."""

from __future__ import annotations

from swiftprof.planning.plan_file import Plan

_NOMINAL = 10_000
"""Stands for the visual tokens where they vary."""


def budget_text(plan: Plan) -> str:
    """`48 of 144 visual tokens`, or a share of them where their number varies.

    The average over layers of the visual tokens that enter each.
    """
    known = plan.model.visual_tokens
    visual = known or _NOMINAL
    counts = plan.tokens_per_layer(visual)
    mean = sum(counts) / len(counts)
    if known is None:
        return f"{100 * mean / visual:.1f} % of the visual tokens"
    return f"{round(mean, 1):g} of {visual} visual tokens"
