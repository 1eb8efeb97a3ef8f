"""Options of the methods whose layers a profile chooses: where the first cut falls, and spreading.

Neither is the paper's. With `first="before"` every stage is judged by a layer that has not run yet,
so the first cut comes one layer earlier; with `spread` a share of every selection goes to tokens
unlike what is kept already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from swiftprof.core.counts import best_count
from swiftprof.core.stages import First
from swiftprof.methods.base import Method
from swiftprof.methods.options import one_of, share

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import StageView


@dataclass(frozen=True)
class Placed(Method):
    """A method at planned layers.

    Options:
        first: whether the first stage takes effect `after` its layer, as in the paper, or `before`
            it, as the later ones do.
        spread: the share of a stage's tokens that is chosen one by one as the least similar to all
            that is kept so far (`swiftprof.core.spread`), in [0, 1].
    """

    first: First = "after"
    spread: float = 0.0

    planned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of("first", self.first, get_args(First))
        share("spread", self.spread)

    def spreading_cost(self, present: int, kept: int) -> float:
        """Every kept token is compared with those that the score did not choose."""
        best = best_count(kept, self.spread)
        return float(kept * (present - best)) if kept > best else 0.0

    def spread_out(self, view: StageView, scores: Tensor) -> Tensor:
        """Raise the tokens that the stage keeps above all others; `scores` lie in [0, 1]."""
        if not self.spread:
            return scores
        from swiftprof.core.select import rank
        from swiftprof.core.spread import spread_out

        order = rank(scores, view.candidates)
        chosen = spread_out(
            view.hidden,
            order,
            view.candidates,
            view.keep,
            self.spread,
            view.n_keep,
            view.n_candidates,
        )
        return scores + 2 * chosen
