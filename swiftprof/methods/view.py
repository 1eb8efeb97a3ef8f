"""What a method may look at while a model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from torch import Tensor


class Attention(Protocol):
    """Computes attention rows of the layer that judges; a function, as it costs a projection."""

    def __call__(
        self, *, rope: bool = True, among: Tensor | None = None, queries: Tensor | None = None
    ) -> Tensor:
        """Attention over all n columns, averaged over the heads: `(B, n)` float32.

        Args:
            rope: rotate queries and keys to their positions.
            among: `(B, n)` bool, the columns over which the softmax runs; all visible ones if None.
            queries: `(B, n)` bool, tokens whose rows are averaged, each seeing what precedes it;
                the last prompt token if None.
        """


class Rows(Protocol):
    """Computes attention rows of the judging layer, head by head."""

    def __call__(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Attention of some tokens, divided by what RoPE gives two all-ones vectors.

        The softmax of each row runs over all that its token sees; then each number is divided by
        the product of two all-ones vectors, rotated to the positions of query and key, over the
        root of their length.

        Args:
            queries: `(B, n)` bool, the tokens that ask.

        Returns:
            rows: `(B, H, Q, n)` float32.
            weight: `(B, Q)` float32, what each counts in their mean; 0 at padding.
        """


@dataclass(frozen=True)
class PromptView:
    """The prompt as it enters the decoder, B rows of L slots.

    Attributes:
        hidden: `(B, L, D)` input embeddings, image features in place.
        visual: `(B, L)` bool, visual tokens.
        valid: `(B, L)` bool, false at padding.
        most_visual: largest number of visual tokens of a row, a host integer.
        most_text: the same of the other tokens.
    """

    hidden: Tensor
    visual: Tensor
    valid: Tensor
    most_visual: int
    most_text: int


@dataclass(frozen=True)
class Vision:
    """What the vision tower knew about the images of a prefill, one image a row.

    Rows without an image hold some other row's values; nothing of theirs is selected. A tower
    without a CLS token gives the first patch's row as `attention` and `cls`; a method that needs
    the token says so (`Method.needs_cls`).

    Attributes:
        attention: `(B, P)` float32, attention of the CLS token over the patches, mean of heads, at
            the layer whose output the decoder gets.
        keys: `(B, P, d)`, keys of that layer, mean of heads.
        patches: `(B, P, C)`, the layer's output at the patches, before the projector.
        cls: `(B, C)`, at the CLS token.
        received: `(B, P)` float32 each, attention that patches receive, mean over heads and
            queries: at the depths that the method asks for, then at the output layer; empty where
            it asks for none.
        project: maps features `(…, C)` to embeddings `(…, D)`.
    """

    attention: Tensor
    keys: Tensor
    patches: Tensor
    cls: Tensor
    received: tuple[Tensor, ...]
    project: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StageView:
    """What a method may look at when it scores a stage.

    Columns are the tokens present at the stage, in the order of the sequence: for a method with
    bypass always the whole prompt (n = L), otherwise the survivors of the stages before.

    Attributes:
        stage: 0 for the first stage.
        candidates: `(B, n)` bool, the visual tokens among which the stage selects.
        index: `(B, n)` int64, place of a candidate among the visual tokens of the prompt (0 is the
            first in reading order, padding and text do not count); -1 elsewhere.
        visible: `(B, n)` bool, false at padding.
        keep: `(B, 1)` int64, how many candidates will be kept.
        n_keep: the same of each row, on the host.
        n_candidates: candidates of each row, on the host.
        n_visual: visual tokens of each row's prompt, on the host.
        hidden: `(B, n, D)`, input of the layer that judges.
        attention: T-V scores of that layer; by default those of the last prompt token.
        rows: attention of several tokens head by head, without the pull of position.
        keys: makes the judging layer's keys after RoPE, heads together, `(B, n, G * d)`.
        output: `(B, n, D)`, what the judging layer gave, after the text model's final norm; only
            for a method that reads it.
        memo: what `Method.prepare` returned, at the columns present; None if it returned nothing.
        vision: what the vision tower knew; only for a method that reads it.
        row: `(B, n)` int64, a candidate's row in its image; only for a method that reads the grid.
        column: the same of its column.
    """

    stage: int
    candidates: Tensor
    index: Tensor
    visible: Tensor
    keep: Tensor
    n_keep: tuple[int, ...]
    n_candidates: tuple[int, ...]
    n_visual: tuple[int, ...]
    hidden: Tensor
    attention: Attention
    rows: Rows
    keys: Callable[[], Tensor]
    output: Tensor | None = None
    memo: Tensor | None = None
    vision: Vision | None = None
    row: Tensor | None = None
    column: Tensor | None = None

    @property
    def tower(self) -> Vision:
        """What the vision tower knew. Raises SwiftprofError where it has not run."""
        if self.vision is None:
            raise SwiftprofError("the method reads the vision tower, which has not run")
        return self.vision

    def at_tokens(self, patches: Tensor) -> Tensor:
        """Values of the tower's patches, `(B, P)`, at their tokens, `(B, n)`; 0 elsewhere."""
        found = patches.gather(1, self.index.clamp(0, patches.shape[1] - 1))
        return found.where(self.candidates, 0.0)
