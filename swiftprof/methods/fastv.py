"""FastV: one early cut by T-V attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftprof.methods.base import Method
from swiftprof.methods.options import one_of

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class FastV(Method):
    """After K layers keep the tokens to which layer K attends most; positions are kept.

    Source: "An Image is Worth 1/2 Tokens After Layer 2" (ECCV 2024), pkunlp-icler/FastV.

    Options:
        queries: `last` averages over heads the row of the last prompt token, as the published code
            does; `all` averages over the rows of all tokens, as the paper's text says.
    """

    queries: str = "last"

    scoring: ClassVar = "before"
    published: ClassVar[tuple[int, ...]] = (2,)

    def __post_init__(self) -> None:
        one_of("queries", self.queries, ("last", "all"))

    @property
    def attends(self) -> str:  # type: ignore[override]
        return self.queries

    def scores(self, view: StageView) -> Tensor:
        """Attention of layer K, softmax over all keys, RoPE included."""
        return view.attention(queries=view.visible if self.queries == "all" else None)
