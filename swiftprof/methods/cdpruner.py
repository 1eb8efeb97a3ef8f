"""CDPruner, the variant whose relevance comes from embeddings: diverse and relevant tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftprof.methods.early import Early

if TYPE_CHECKING:
    from torch import Tensor

    from swiftprof.methods.view import PromptView, StageView

_EPSILON = 1e-6


@dataclass(frozen=True)
class CDPrunerEmbeddings(Early):
    """Keep the set that a determinantal point process finds likeliest, chosen greedily.

    The kernel is r_i cos(x_i, x_j) r_j over embeddings x, r the relevance of a token to the
    question. Source: "CDPruner" (NeurIPS 2025), Theia-4869/CDPruner, which takes the relevance from
    CLIP's text tower. LLaVA checkpoints lack that, so here, as in OpenVINO GenAI, it is compared
    with the embeddings of the prompt's text tokens: minus the mean cosine, brought to [0, 1] over
    the prompt's visual tokens.
    """

    def spreading_cost(self, present: int, kept: int) -> float:
        """Each chosen token with all."""
        return float(present * kept)

    def prepare(self, prompt: PromptView) -> Tensor:
        """The relevance of each visual token, `(B, L)`; 0 elsewhere."""
        import torch

        unit = torch.nn.functional.normalize(prompt.hidden.float(), dim=-1)
        text = (prompt.valid & ~prompt.visual)[..., None]
        said = (unit * text).sum(1, keepdim=True) / text.sum(1, keepdim=True).clamp_min(1)
        value = -(unit * said).sum(-1)  # minus the mean over text tokens of the cosine
        least = value.masked_fill(~prompt.visual, float("inf")).amin(1, keepdim=True)
        most = value.masked_fill(~prompt.visual, float("-inf")).amax(1, keepdim=True)
        relevance = (value - least + _EPSILON) / (most - least).clamp_min(_EPSILON)
        return relevance.masked_fill(~prompt.visual, 0.0)

    def scores(self, view: StageView) -> Tensor:
        """1 at the chosen tokens."""
        import torch

        from swiftprof.core.apart import likeliest_set
        from swiftprof.core.layout import compact, gather_tokens, mark

        assert view.memo is not None
        columns, there = compact(view.candidates, max(view.n_candidates))
        unit = torch.nn.functional.normalize(gather_tokens(view.hidden, columns).float(), dim=-1)
        weight = view.memo.gather(1, columns).masked_fill(~there, 0.0)
        chosen = likeliest_set(unit * weight[..., None], there, max(view.n_keep))
        return mark(columns.gather(1, chosen), view.keep, view.candidates)
