"""What methods have in common that choose image tokens before the decoder, blind to its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swiftprof.methods.base import Method


@dataclass(frozen=True)
class Early(Method):
    """One selection before layer 1, so that every layer sees the budget's N tokens.

    Options:
        positions: `compacted` numbers the survivors without gaps, as published for LLaVA; `kept`
            leaves every token its position (models with three-dimensional positions need it).
    """

    positions: str = "compacted"

    scoring: ClassVar = "next"
    attends: ClassVar = "nothing"
    earliest: ClassVar[int] = 0
    schedule: ClassVar[str] = "uniform"
    published: ClassVar[tuple[int, ...]] = (0,)

    def default_layers(self, num_layers: int, ratio: float | None = None) -> tuple[int, ...]:
        """Before the decoder."""
        return self.published
