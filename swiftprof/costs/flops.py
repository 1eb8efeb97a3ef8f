"""FLOPs of a prefill, by the paper's formulas (eq. 17-19), generalised to grouped-query attention.

The paper counts a multiply-add as one operation in eq. 17 and counts the decoder's layers only: no
vision tower, no embedding, no output head. We keep that, so that numbers can be compared: vanilla
LLaVA-1.5-7B with 576 visual and 70 other tokens (35 of the system prompt, about 35 of the question)
costs 4.29 T, which is what the paper prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from swiftprof.core.counts import kept_count, merged_count
from swiftprof.core.stages import (
    First,
    Scoring,
    StageLike,
    cut_layers,
    judging_layers,
    tokens_per_layer,
)

FORMULA = (
    "arXiv 2602.03134 eq. 17-19: 4nd2 + 2n2d + 3ndm a layer, overhead of pruning included; decoder "
    "layers only, a multiply-add counted once"
)
"""Named with every number, because papers on pruning use several formulas."""

PAPER_TEXT_TOKENS = 70
"""Tokens beside the visual ones for which eq. 17 gives the paper's 4.29 T of LLaVA-1.5-7B."""


class MethodFacts(Protocol):
    """What a method's cost depends on; `swiftprof.Method` says what each means."""

    @property
    def first(self) -> First: ...
    @property
    def scoring(self) -> Scoring: ...
    @property
    def attends(self) -> Literal["nothing", "last", "raters", "all"]: ...
    @property
    def bypass(self) -> bool: ...
    def grouping_cost(self, rest: int, merged: int) -> float: ...
    def spreading_cost(self, present: int, kept: int) -> float: ...


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder that decide its cost. Names are those of Hugging Face configurations."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int

    @classmethod
    def from_config(cls, config: Any) -> DecoderShape:
        """The shape of a transformers text configuration."""
        heads = int(config.num_attention_heads)
        return cls(
            num_layers=int(config.num_hidden_layers),
            hidden_size=int(config.hidden_size),
            intermediate_size=int(config.intermediate_size),
            num_attention_heads=heads,
            num_key_value_heads=int(getattr(config, "num_key_value_heads", None) or heads),
            head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        )

    @classmethod
    def of(cls, source: Any) -> DecoderShape:
        """From a mapping or an object with these names."""
        get = (
            source.__getitem__
            if isinstance(source, Mapping)
            else lambda name: getattr(source, name)
        )
        return cls(**{name: int(get(name)) for name in cls.__dataclass_fields__})

    @property
    def query_size(self) -> int:
        """Width of all query heads together; d in the paper."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_size(self) -> int:
        """Width of all key heads together; d in the paper, less with grouped queries."""
        return self.num_key_value_heads * self.head_dim


def layer_flops(shape: DecoderShape, tokens: float) -> float:
    """C_n of eq. 17: 4nd² + 2n²d + 3ndm for one layer with n tokens.

    With grouped queries the 4d² become d (2 q + 2 k), q and k the widths of the queries and keys.
    """
    d, q, k = shape.hidden_size, shape.query_size, shape.key_size
    projections = 2 * tokens * d * (q + k)
    return projections + 2 * tokens**2 * q + 3 * tokens * d * shape.intermediate_size


def prefill_flops(shape: DecoderShape, tokens_per_layer_total: Iterable[float]) -> float:
    """F of eq. 18 for any number of tokens (visual and text) entering each layer."""
    return sum(layer_flops(shape, tokens) for tokens in tokens_per_layer_total)


def overhead_flops(
    shape: DecoderShape, n_visual: float, low_ranked: float, merged: float, retained: float
) -> float:
    """F_o of eq. 19, one pruning layer that merges, restores and scores again.

    2RZd (grouping) + Rd (alignment) + 2 n_v d (scores) + 2d² (query) + 2 (1 - r) n_v d² (keys of
    the tokens that are not retained; the retained ones' keys are part of the layer anyway).

    Args:
        shape: the decoder.
        n_visual: n_v, visual tokens scored.
        low_ranked: R, tokens that are not selected.
        merged: Z, merged tokens.
        retained: r, share of the visual tokens that is selected.
    """
    d, q, k = shape.hidden_size, shape.query_size, shape.key_size
    return (
        2 * low_ranked * merged * d
        + low_ranked * d
        + 2 * n_visual * q
        + 2 * d * q
        + 2 * (1 - retained) * n_visual * d * k
    )


def stages_overhead_flops(
    shape: DecoderShape,
    stages: Sequence[StageLike],
    n_visual: int,
    n_text: float = 0.0,
    *,
    method: MethodFacts,
) -> float:
    """What scoring, merging and restoring cost over all stages of a plan.

    Eq. 19 is split over the stages it happens at. A stage that the layer which has just run judges
    needs scores and grouping alone: that layer's queries and keys exist. One that the next layer
    judges projects the query anew and the keys of the tokens that are not retained; the retained
    ones' keys are part of the layer. Bypassed tokens that come back are aligned.

    Args:
        shape: the decoder.
        stages: the plan's stages.
        n_visual: n_v.
        n_text: the other tokens; counts where text tokens rate the visual ones (all of it at most).
        method: what prunes.
    """
    asking = {"nothing": 0.0, "last": 1.0, "raters": n_text, "all": n_text + n_visual}
    d, q, k = shape.hidden_size, shape.query_size, shape.key_size
    total, waiting, present = 0.0, 0, n_visual
    if method.attends == "raters":
        total += n_visual * n_text * d  # image features against text embeddings
    cuts = cut_layers(stages, method.first)
    judges = judging_layers(stages, method.scoring, method.first)
    for stage, cut, judge in zip(stages, cuts, judges, strict=True):
        kept = min(present, kept_count(stage.keep, n_visual))
        merged = merged_count(stage.merge, n_visual, kept)
        rest = present - kept
        total += 2 * asking[method.attends] * present * q
        total += (method.grouping_cost(rest, merged) + method.spreading_cost(present, kept)) * d
        if judge >= cut:
            total += waiting * d
            if method.attends != "nothing":
                total += 2 * d * q + 2 * rest * d * k
        waiting = rest if method.bypass else 0
        present = n_visual if method.bypass else kept + merged
    return total


def plan_flops(
    shape: DecoderShape,
    stages: Sequence[StageLike],
    n_visual: int,
    n_text: float,
    *,
    method: MethodFacts,
) -> float:
    """FLOPs of a prefill under a plan: eq. 18 over its layers, and its overhead (eq. 19)."""
    counts = tokens_per_layer(stages, shape.num_layers, n_visual, method.first)
    layers = prefill_flops(shape, (visual + n_text for visual in counts))
    return layers + stages_overhead_flops(shape, stages, n_visual, n_text, method=method)


def decode_flops(
    shape: DecoderShape,
    stages: Sequence[StageLike],
    n_visual: int,
    n_text: float,
    first: str = "after",
) -> float:
    """FLOPs of the first new token: eq. 17 for one token that attends to each layer's cache."""
    d, q, k = shape.hidden_size, shape.query_size, shape.key_size
    fixed = 2 * d * (q + k) + 3 * d * shape.intermediate_size
    counts = tokens_per_layer(stages, shape.num_layers, n_visual, first)
    return sum(fixed + 2 * (visual + n_text + 1) * q for visual in counts)


def vanilla_flops(shape: DecoderShape, n_visual: float, n_text: float) -> float:
    """FLOPs of a prefill that prunes nothing."""
    return shape.num_layers * layer_flops(shape, n_visual + n_text)
