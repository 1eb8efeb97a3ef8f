"""Sampling row by row: every request of a batch has its own temperature, top_p and seed."""

from __future__ import annotations

import torch
from torch import Tensor


class Sampler:
    """Draws tokens for one answer; the same seed draws the same, whatever runs beside it.

    Args:
        temperature: above 0.
        top_p: share of the probability that may be drawn from.
        seed: None draws one.
    """

    def __init__(self, temperature: float, top_p: float = 1.0, seed: int | None = None) -> None:
        self._temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator()
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed % 2**63)

    def pick(self, scores: Tensor) -> int:
        """A token from the logits `(V,)` of the next one."""
        scores = scores.detach().float().cpu()
        chances = torch.softmax((scores - scores.max()) / self._temperature, -1)
        if self._top_p < 1:
            sorted_chances, order = chances.sort(descending=True)
            beyond = sorted_chances.cumsum(0) - sorted_chances >= self._top_p
            chances[order[beyond]] = 0
        return int(torch.multinomial(chances, 1, generator=self._generator))
