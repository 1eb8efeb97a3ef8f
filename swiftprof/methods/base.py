"""What a pruning method is: how it plans, and how it runs.

Planning needs numbers alone, so nothing here imports torch before a model runs: a method's file is
all that the rest of the package has to ask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from swiftprof.core.stages import First, Scoring, layers_judged_by
from swiftprof.methods.depths import scaled

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.core.merge import Merged, Rest
    from swiftprof.methods.view import PromptView, StageView


@dataclass(frozen=True)
class Method(ABC):
    """A way to choose visual tokens.

    Subclasses are frozen dataclasses; their fields are the plan's `options`.

    Options:
        per: what shares a stage's tokens: all visual tokens of a `prompt`, ranked together, or each
            `image` (or frame of a video) in proportion to its size.

    Class attributes:
        merges: unselected tokens go on as merged tokens (a stage's `merge`); with bypass not at the
            last stage, which drops its rest.
        bypass: unselected tokens come back before the next stage; otherwise they are gone for good,
            and the survivors (merged ones included) are the next stage's candidates.
        scoring: whose attention judges a stage. `before`: the layer that has just run; `next`: the
            layer that runs next; `own`: the stage's layer itself (paper §3.3).
        attends: which prompt tokens' attention is the score, for cost estimates.
        planned: a profile chooses the method's layers; otherwise it prunes at its own.
        merged_apart: merged tokens stand behind the kept visual tokens (those that `Merged.front`
            counts before them) instead of in their seeds' slots. Needs `compacts`.
        reads_output: a stage that the layer `before` judges sees that layer's output too.
        reads_vision: asks what the vision tower knew, see `swiftprof.methods.view.Vision`.
        needs_cls: the tower must have a CLS token; where a method reads the tower at all.
        tower_depths: layers of the tower, as shares of its depth, at which the method asks for the
            attention that patches receive.
        pools: kept tokens take in others, see `pool`; judged by the `next` layer.
        earliest: the least layer of the first stage; 0 is before the decoder.
        schedule: how tokens fall from stage to stage unless said otherwise: a name in
            `swiftprof.planning.budget.SCHEDULES`, or `published` (see `published_shares`).
        published: pruning layers in LLaVA-1.5-7B (32 layers), in the numbering of plans: the first
            stage cuts after its layer, the later ones before theirs.
        reads_grid: the method needs rows and columns of the images (`StageView.row`).
    """

    per: str = field(default="prompt", kw_only=True, repr=False)

    merges: ClassVar[bool] = False
    bypass: ClassVar[bool] = False
    scoring: ClassVar[Scoring] = "own"
    attends: ClassVar[Literal["nothing", "last", "raters", "all"]] = "last"
    planned: ClassVar[bool] = False
    merged_apart: ClassVar[bool] = False
    earliest: ClassVar[int] = 1
    schedule: ClassVar[str] = "geometric"
    published: ClassVar[tuple[int, ...]] = (3, 11, 15)
    reads_output: ClassVar[bool] = False
    reads_vision: ClassVar[bool] = False
    reads_grid: ClassVar[bool] = False
    needs_cls: ClassVar[bool] = True
    tower_depths: ClassVar[tuple[float, ...]] = ()
    pools: ClassVar[bool] = False

    @property
    def first(self) -> First:
        """Whether the first stage takes effect after or before its layer (`core.stages`)."""
        return "after"

    @property
    def compacts(self) -> bool:
        """Whether survivors are renumbered after every stage, so that positions have no gaps: what
        the option `positions` says, where a method has it.
        """
        return getattr(self, "positions", "kept") == "compacted"

    # --- planning

    def default_layers(self, num_layers: int, ratio: float | None = None) -> tuple[int, ...]:
        """The method's pruning layers in a model of this depth, without a profile.

        Args:
            num_layers: L.
            ratio: retained tokens as a fraction of all; some methods start earlier for less.
        """
        return scaled(self.published, num_layers)

    def planned_layers(self, judges: Sequence[int]) -> tuple[int, ...]:
        """Where the method prunes so that the layers which a profile chose judge its stages.

        Whose attention judges differs between methods, and so do the plan's layers for the same
        judges. A method of one stage takes the first.

        Args:
            judges: layers numbered from 1, ascending.
        """
        taken = judges[:1] if len(self.published) == 1 else judges
        return layers_judged_by(taken, self.scoring, self.first)

    def published_shares(self, parameter: float, stages: int, n_visual: int) -> list[float]:
        """The method's own schedule: the share of n_v that goes on after each stage.

        Args:
            parameter: in [0, 1]; the total must rise with it.
            stages: number of stages.
            n_visual: n_v.
        """
        raise NotImplementedError(f"{type(self).__name__} has no schedule of its own")

    def merged_of(self, total: int, present: int, wanted: int, *, last: bool) -> int:
        """How many of the `total` tokens that go on after a stage are merged ones.

        Args:
            total: tokens that go on.
            present: tokens that the stage chooses from.
            wanted: merged tokens asked for (Z), where the method leaves that open.
            last: it is the last stage.
        """
        return 0

    def least_total(self, present: int, n_visual: int, stage: int) -> int:
        """The fewest tokens that can go on after a stage (from 0) that chooses from `present`."""
        return 1

    def grouping_cost(self, rest: int, merged: int) -> float:
        """Similarities computed to group `rest` tokens into `merged` ones, in products of size d.

        Eq. 19 counts 2RZ.
        """
        return 2.0 * rest * merged

    def spreading_cost(self, present: int, kept: int) -> float:
        """Similarities computed to choose `kept` of `present` tokens, in products of size d."""
        return 0.0

    # --- running

    def prepare(self, prompt: PromptView) -> Tensor | None:
        """Note something about the prompt before the first layer; stages find it as `memo`.

        Returns:
            `(B, L)` over the slots of the prompt, or None. Only asked of a method that overrides
            this.
        """
        return None

    @abstractmethod
    def scores(self, view: StageView) -> Tensor:
        """Score each column, `(B, n)` float32: the best candidates stay, ties to the lower slot."""

    def merge(self, rest: Rest) -> Merged:
        """Merge unselected tokens; only asked where the method merges."""
        raise NotImplementedError(f"{type(self).__name__} does not merge")

    def pool(self, view: StageView) -> Tensor:
        """Hidden states `(B, n, D)` with which the kept tokens go on; asked where `pools`."""
        raise NotImplementedError(f"{type(self).__name__} does not pool")
