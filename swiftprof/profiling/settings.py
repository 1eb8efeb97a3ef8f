"""What a profile measures. Two runs with equal settings give equal profiles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from swiftprof.costs.flops import DecoderShape
from swiftprof.runs.settings import RunSettings

Score = Literal["generation", "nll"]
"""Greedy answers and the data set's metric, or the likelihood of the reference answer."""


class Settings(RunSettings):
    """Settings of a profile.

    Attributes:
        decoder: sizes of the model's decoder.
        keep: V, the share of visual tokens that a selection holds.
        layers: candidates, whose selections are re-run.
    """

    decoder: DecoderShape
    keep: float = Field(gt=0, le=1)
    layers: tuple[int, ...] = Field(min_length=1, max_length=4096)
    score: Score = "generation"

    @model_validator(mode="after")
    def _layers_fit(self) -> Settings:
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError("layers must ascend")
        if self.layers[0] < 1 or self.layers[-1] > self.model.num_layers:
            raise ValueError(f"layers must lie in 1..{self.model.num_layers}")
        return self
