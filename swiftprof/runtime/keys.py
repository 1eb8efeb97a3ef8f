"""Keys that judging has projected are not projected again by the layer that runs next (eq. 19)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swiftprof.core.layout import compact, gather_tokens, scatter_tokens


@dataclass(frozen=True)
class KnownKeys:
    """What W_K gives for the tokens that stay, from when they were judged.

    Attributes:
        layer: 0-based index of the layer that judged and runs next.
        projected: `(B, m, G * d)`; of merged tokens, which did not exist then, it holds their
            seeds'.
        merged: `(B, Z)` int64, columns of the merged tokens; None where nothing was merged.
        used: `(B, Z)` bool, false for rows with fewer of them.
    """

    layer: int
    projected: Tensor
    merged: Tensor | None = None
    used: Tensor | None = None

    @classmethod
    def make(cls, layer: int, projected: Tensor, merged: Tensor, width: int) -> KnownKeys:
        """Of the tokens present after a stage.

        Args:
            layer: see above.
            projected: `(B, m, G * d)`.
            merged: `(B, m)` bool, tokens that this stage merged.
            width: the largest number of them in a row, a host integer.
        """
        if not width:
            return cls(layer, projected)
        return cls(layer, projected, *compact(merged, width))

    def unknown(self, normed: Tensor) -> Tensor:
        """Of the layer's input `(B, m, D)` what has to be projected still.

        One token at least: not every kind of linear layer takes none.
        """
        return normed[:, :1] if self.merged is None else gather_tokens(normed, self.merged)

    def with_unknown(self, made: Tensor) -> Tensor:
        """All keys, `(B, m, G * d)`, once those of `unknown` are there."""
        if self.merged is None:
            return self.projected
        return scatter_tokens(self.projected, made, self.merged, self.used)
