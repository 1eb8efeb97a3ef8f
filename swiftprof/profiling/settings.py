"""What a profile measures. Two runs with equal settings give equal profiles."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from swiftprof.planning.plan_file import ModelInfo

Score = Literal["generation", "nll"]
"""Greedy answers and the data set's metric, or the likelihood of the reference answer."""
OMITTED_WHEN_EMPTY = ("splits", "protocol", "sources", "loading", "race")
"""Fields that are left out where they are empty: the bundled data sets and model fill none."""
SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
SetName = Annotated[str, Field(pattern=f"^{SET_NAME.pattern}$")]
"""Names become names of files, so they can hold nothing that leads elsewhere."""


class Settings(BaseModel):
    """Everything that decides the result; parts of different settings never mix.

    Attributes:
        splits: data sets that were drawn from another split than ``split``.
        protocol: how sets are asked and scored; the bundled ones have no choice there.
        sources: files of the sets that come in files, by revision or digest.
        loading: quantised weights and model arguments, as `VLM.loading`.
        race: risk at which layers leave the race (`swiftprof.profiling.race`); None where all
            layers run on all samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelInfo
    datasets: tuple[SetName, ...] = Field(min_length=1, max_length=1000)
    split: str = "train"
    samples: int = Field(ge=1, le=10**9)
    keep: float = Field(gt=0, le=1)
    seed: int = 0
    layers: tuple[int, ...] = Field(min_length=1, max_length=4096)
    dtype: str = "float32"
    attention: str = "sdpa"
    score: Score = "generation"
    splits: dict[str, str] = Field(default_factory=dict)
    protocol: dict[str, str] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)
    loading: tuple[str, ...] = ()
    race: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _layers_fit(self) -> Settings:
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError("layers must ascend")
        if self.layers[0] < 1 or self.layers[-1] > self.model.num_layers:
            raise ValueError(f"layers must lie in 1..{self.model.num_layers}")
        return self

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Empty fields are left out: older profiles, which lack them, stay the same."""
        values: dict[str, Any] = serialize(self)
        return {k: v for k, v in values.items() if v or k not in OMITTED_WHEN_EMPTY}

    def digest(self) -> str:
        """Short name of these settings."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def difference(self, other: Settings) -> str:
        """Names and values of the settings that differ, for messages."""
        ours, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return "; ".join(
            f"{k}: {ours.get(k)} here, {theirs.get(k)} there"
            for k in {**ours, **theirs}
            if ours.get(k) != theirs.get(k)
        )
