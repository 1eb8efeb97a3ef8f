"""Teach chosen layers where to look: cross-entropy between their T-V attention and the patches
that the question is about.

Only the bundled model is trained so, and only in its last phase. It plants a known answer in the
model: some layers can tell which tokens matter and others cannot, and a profile has to find out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.batches import Asked

EPSILON = 1e-6


@dataclass(frozen=True)
class Guide:
    """``layer`` (1-based) learns to look at what the question names, at what its answer is about
    (the target), or at both."""

    layer: int
    at: Literal["named", "target", "all"]
    weight: float


def guidance(guides: tuple[Guide, ...], looks: list[Tensor], asked: Asked, blind: Tensor) -> Tensor:
    """Weighted sum of the guides' losses, over the rows that see and have something to look at.

    Args:
        looks: per layer the T-V attention of the last prompt token, (R, patches).
        blind: (layers, R) bool, rows that see nothing at a layer.
    """
    total = torch.zeros(())
    for guide in guides:
        wanted = {
            "named": asked.named,
            "target": asked.target,
            "all": asked.named | asked.target,
        }[guide.at]
        look = looks[guide.layer - 1]
        share = (look / (look.sum(1, keepdim=True) + EPSILON) + EPSILON).log()
        each = -(share * wanted).sum(1) / wanted.sum(1).clamp(min=1)
        rows = wanted.any(1) & ~blind[guide.layer - 1]
        total = total + guide.weight * (each * rows).sum() / rows.sum().clamp(min=1)
    return total
