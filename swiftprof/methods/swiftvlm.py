"""SwiftVLM: independent selections at chosen layers, with merging and bypass (paper §3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swiftprof.methods.merge import Merge


@dataclass(frozen=True)
class SwiftVLM(Merge):
    """Keep the tokens with the highest T-V score; merge the rest; bring it back for the next stage.

    The last stage drops its rest. Source: https://arxiv.org/abs/2602.03134. Options as in `Merge`.
    """

    bypass: ClassVar[bool] = True
