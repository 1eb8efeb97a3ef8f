"""VisPruner: patches that the CLS token attends to, and others that differ among themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.early import Early
from swiftprof.methods.options import share

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class VisPruner(Early):
    """Keep a share by the CLS token's attention; thin the rest out by similarity.

    Blind to the question. Source: "VisPruner" (ICCV 2025), Theia-4869/VisPruner. With
    `important=1` it is FasterVLM (arXiv 2412.01818): attention alone. Models with a CLS token and
    one grid of patches per image only.

    Options:
        important: share r of the tokens that attention chooses.
    """

    important: float = 0.5

    reads_vision: ClassVar[bool] = True

    def __post_init__(self) -> None:
        share("important", self.important)

    def scores(self, view: StageView) -> Tensor:
        """1 at the chosen patches."""
        import torch

        from swiftprof.core.apart import thin_out

        attention, patches = view.tower.attention, view.tower.patches
        keep = min(max(view.n_keep), attention.shape[1])  # every image has as many patches
        first = int(keep * self.important)
        order = attention.argsort(dim=1, descending=True, stable=True)
        others = thin_out(patches, order[:, first:], keep - first)
        chosen = torch.cat([order[:, :first], others], dim=1)
        return view.at_tokens(torch.zeros_like(attention).scatter(1, chosen, 1.0))
