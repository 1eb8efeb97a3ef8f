"""DART: drop what duplicates a few pivots, whatever attention says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method
from swiftprof.methods.options import whole

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class DART(Method):
    """After two layers keep pivots, and for each the image tokens least similar to it.

    Pivots are the image tokens and the text tokens behind the image whose keys (after RoPE, heads
    together) have the largest L1 norms. In the order of the prompt each pivot takes its share of
    the image tokens that are left, those of least cosine between the layer's outputs after the text
    model's final norm. Positions are kept. Source: "Stop Looking for Important Tokens" (EMNLP
    2025), ZichenWen1/DART. The published number of tokens is a multiple of the pivots; here what
    is over goes to the first pivots, so that the plan's number is exact.

    Options:
        image_pivots, text_pivots: how many of each.
    """

    image_pivots: int = 4
    text_pivots: int = 4

    scoring: ClassVar = "before"
    attends: ClassVar = "nothing"
    reads_output: ClassVar[bool] = True
    published: ClassVar[tuple[int, ...]] = (2,)

    def __post_init__(self) -> None:
        whole("image_pivots", self.image_pivots, 1)
        whole("text_pivots", self.text_pivots, 1)

    def spreading_cost(self, present: int, kept: int) -> float:
        """Every pivot with all tokens."""
        return float((self.image_pivots + self.text_pivots) * present)

    def scores(self, view: StageView) -> Tensor:
        """Image pivots above what they and the text pivots took, that above the others."""
        import torch

        from swiftprof.core.layout import gather_tokens
        from swiftprof.core.select import rank, top

        assert view.output is not None
        norm = view.keys().float().abs().sum(-1)  # (B, n)
        place = torch.arange(norm.shape[1], device=norm.device)
        last = torch.where(view.candidates, place, -1).amax(1, keepdim=True)
        text = view.visible & ~view.candidates
        # Where fewer stand behind the image, others help out: every row has as many pivots.
        liking = norm + torch.where(place > last, norm.amax(1, keepdim=True) + 1, 0.0)
        of_image = rank(norm, view.candidates)[:, : self.image_pivots]
        of_text = rank(liking, text)[:, : self.text_pivots]
        pivots = torch.cat([of_image, of_text], 1).sort(dim=1).values  # as they stand in the prompt

        unit = torch.nn.functional.normalize(view.output.float(), dim=-1)
        similar = gather_tokens(unit, pivots) @ unit.transpose(1, 2)  # (B, pivots, n)
        fewest = view.keep.clamp_max(self.image_pivots)  # pivots themselves, where few tokens stay
        pivot = top(of_image, fewest, norm.shape[1])
        left, number = view.candidates & ~pivot, pivots.shape[1]
        taken = torch.zeros_like(left)
        for each in range(number):
            share = (
                view.keep - fewest + number - 1 - each
            ) // number  # the first take what is over
            here = top(rank(-similar[:, each], left), share) & left
            taken, left = taken | here, left & ~here
        return 2.0 * pivot + 1.0 * taken
