"""Equal price for all candidates: FLOPs, or tokens, on the prompts that are really run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from swiftprof.core.stages import tokens_per_layer
from swiftprof.costs.flops import DecoderShape, plan_flops
from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method
from swiftprof.models.loading import VLM
from swiftprof.planning.plan_file import Budget, Plan, Stage
from swiftprof.planning.preset import plan_preset
from swiftprof.search.measure import Meter
from swiftprof.search.space import Candidate, Price, fill

Equal = Literal["flops", "tokens"]


@dataclass(frozen=True)
class Pricing:
    """What every candidate is filled to.

    Attributes:
        paper: the paper's plan.
        equal: what is the same.
        n_visual, n_text: tokens of the prompts that are run.
        price: FLOPs or tokens of stages on these prompts.
        most: the paper's plan's price.
        shape: the decoder.
    """

    paper: Plan
    equal: Equal
    n_visual: int
    n_text: float
    price: Price
    most: float
    shape: DecoderShape

    @classmethod
    def of(cls, vlm: VLM, paper: Plan, equal: Equal, meter: Meter) -> Pricing:
        """Prices on the prompts of the samples."""
        n_visual, n_text = meter.prompt_sizes()
        shape = vlm.decoder_shape

        def flops(stages: Sequence[Stage], method: Method) -> float:
            return plan_flops(shape, stages, n_visual, n_text, method=method)

        def tokens(stages: Sequence[Stage], method: Method) -> float:
            counts = tokens_per_layer(stages, shape.num_layers, n_visual, method.first)
            return sum(counts) / len(counts)

        price = flops if equal == "flops" else tokens
        most = price(paper.stages, Candidate.of(paper, n_visual).method)
        return cls(paper, equal, n_visual, n_text, price, most, shape)

    def preset(self) -> Candidate | None:
        """The preset `often` at the price; None where it is impossible."""
        flops, tokens = (self.most / 1e12, None) if self.equal == "flops" else (None, self.most)
        try:
            made = plan_preset(
                "often", self.paper.model, self.shape, self.n_text, flops=flops, retain=tokens
            )
        except SwiftprofError:
            return None
        return Candidate.of(made, self.n_visual)

    def plan(self, candidate: Candidate) -> Plan | None:
        """The candidate's plan at the price; None where it is impossible."""
        stages = fill(candidate, self.n_visual, self.price, self.most)
        if stages is None:
            return None
        model = self.paper.model
        counts = tokens_per_layer(stages, model.num_layers, self.n_visual, candidate.first)
        kept = sum(counts) / len(counts)
        return Plan(
            model=model,
            method="swiftvlm",
            stages=stages,
            options=dict(candidate.options),
            budget=Budget(layers=len(stages), ratio=round(kept / self.n_visual, 6)),
            source=self.paper.source,
        )
