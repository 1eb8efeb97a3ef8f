"""What decides the results of a run. What two runs share need not be measured twice."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from swiftprof import __version__
from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import VLM
from swiftprof.models.registry import ModelInfo

SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
SetName = Annotated[str, Field(pattern=f"^{SET_NAME.pattern}$")]
"""Names become names of files, so they can hold nothing that leads elsewhere."""
BY_SET = ("splits", "protocol", "sources")
EXTENT = ("datasets", "samples", "given", *BY_SET)
"""Fields that say how far any run goes. In one folder they may grow; all others stay."""


class RunSettings(BaseModel):
    """Settings that profiles and evaluations have in common.

    Attributes:
        samples: at most, of each data set.
        splits: split of each data set.
        loading: quantised weights and model arguments, as `VLM.loading`.
        weights: fingerprint of the weights of a local folder, which may change under its name.
        protocol: how each set is asked and scored.
        sources: files of the sets that come in files, by revision or digest.
        given: what names a set again, where that is not its name: own data by their path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extent: ClassVar[tuple[str, ...]] = EXTENT
    """Fields that may grow in one folder."""

    model: ModelInfo
    datasets: tuple[SetName, ...] = Field(min_length=1, max_length=1000)
    splits: dict[str, str]
    samples: int = Field(ge=1, le=10**9)
    seed: int = 0
    dtype: str = "float32"
    attention: str = "sdpa"
    loading: tuple[str, ...] = ()
    weights: str = ""
    protocol: dict[str, str] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)
    given: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sets_have_splits(self) -> Self:
        if set(self.splits) != set(self.datasets):
            raise ValueError("splits: must have the data sets of datasets")
        return self

    def again(self) -> list[str]:
        """What names the data sets again: names, and paths of own data."""
        return [self.given.get(name, name) for name in self.datasets]

    def only(self, names: Collection[str]) -> Self:
        """The same for some of the data sets."""
        by_set = {
            field: {k: v for k, v in getattr(self, field).items() if k in names}
            for field in (*BY_SET, "given")
        }
        kept = tuple(name for name in self.datasets if name in names)
        return self.model_copy(update={"datasets": kept, **by_set})

    def fixed(self) -> dict[str, Any]:
        """What cannot change in a folder."""
        return {k: v for k, v in self.model_dump(mode="json").items() if k not in self.extent}

    def of_set(self, dataset: str) -> dict[str, str]:
        """What decides the results of one data set beside the rest."""
        values = {field: getattr(self, field).get(dataset, "") for field in BY_SET}
        return {field: value for field, value in values.items() if value}

    def digest(self) -> str:
        """Short name of these settings, however many samples there are."""
        return digest({**self.fixed(), "sets": {d: self.of_set(d) for d in self.datasets}})

    def series_digest(self, dataset: str) -> str:
        """Name of what decides the rows of one data set."""
        return digest({**self.fixed(), "set": self.of_set(dataset)})

    def difference(self, other: RunSettings) -> str:
        """Names and values of what must not differ in one folder, for messages; empty if none."""
        ours, theirs = self.fixed(), other.fixed()
        for name in set(self.datasets) & set(other.datasets):
            for side, settings in ((ours, self), (theirs, other)):
                side |= {f"{field} of {name}": v for field, v in settings.of_set(name).items()}
        return "; ".join(
            f"{key}: {_short(ours.get(key))} here, {_short(theirs.get(key))} there"
            for key in {**ours, **theirs}
            if ours.get(key) != theirs.get(key)
        )


def common_settings(
    vlm: VLM, sets: Sequence[Dataset], splits: Mapping[str, str], score: str = "generation"
) -> dict[str, Any]:
    """The fields of `RunSettings` that a model and data sets decide.

    Raises:
        SwiftprofError: a name that cannot be a file's, a split that does not exist, weights that
            are not finite.
    """
    for each in sets:
        if not SET_NAME.fullmatch(each.name):
            raise SwiftprofError(
                f"data set {each.name[:80]!r}: its name becomes a file's name, so it may only hold "
                "letters, digits and . _ + -"
            )
        each.check_split(splits[each.name])
    check_weights(vlm.model)
    local = vlm.source.local and not vlm.source.bundled
    return {
        "model": vlm.info,
        "datasets": tuple(d.name for d in sets),
        "splits": dict(splits),
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "attention": str(vlm.model.config._attn_implementation),
        "loading": vlm.loading,
        "weights": fingerprint(vlm.model) if local else "",
        "protocol": {d.name: d.protocol(vlm.conventions, score) for d in sets},
        "sources": {d.name: s for d in sets if (s := d.source(splits[d.name]))},
        "given": {d.name: origin for d in sets if (origin := getattr(d, "origin", ""))},
    }


def versions() -> dict[str, str]:
    """What ran: swiftprof, and what it stands on."""
    import transformers

    return {
        "swiftprof": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def digest(document: Mapping[str, Any]) -> str:
    """Short name of a JSON document."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


_LOOKED_AT = 64
"""Numbers of each tensor that a fingerprint is made of."""


@torch.no_grad()
def check_weights(model: nn.Module) -> None:
    """Refuse weights with NaN or infinite numbers, which answer nonsense without a sign of it.

    Raises:
        SwiftprofError: with the name of the first such tensor.
    """
    for name, weight in model.named_parameters():
        if weight.is_meta or not weight.is_floating_point() or weight.element_size() < 2:
            continue
        # One number tells: a sum is finite exactly if all are, up to what float32 can hold.
        if bool(weight.sum(dtype=torch.float32).isfinite()) or bool(weight.isfinite().all()):
            continue
        raise SwiftprofError(
            f"{type(model).__name__}: the weights of {name} hold NaN or infinite numbers, so no "
            "answer means anything; download or convert the checkpoint again"
        )


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """A short name of some weights: another one for a model that was trained further.

    A few numbers of every tensor, evenly spread. The same on every device.
    """
    found = hashlib.sha256()
    for name, weight in model.named_parameters():
        found.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        if weight.is_meta or not weight.numel():
            continue
        flat = weight.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // _LOOKED_AT)]
        found.update(some.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
