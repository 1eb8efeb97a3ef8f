"""SwiftVLM: independent selections at chosen layers, with merging and bypass (paper §3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swiftprof.methods.merge import Merge

__all__ = ["SwiftVLM"]


@dataclass(frozen=True)
class SwiftVLM(Merge):
    """Keep the tokens with the highest T-V score; merge the rest; bring it back for the next stage.

    Source: https://arxiv.org/abs/2602.03134. Options as in `Merge`; the paper leaves them open.
    """

    bypass: ClassVar[bool] = True
