"""plan.json: what to prune, at which layers, and where that advice came from.

A plan is meant to travel: written on one machine, it is read on another, by other programs, years
later. So it is checked field by field when it is read, and every refusal names file and field.
"""

from __future__ import annotations

import json
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from swiftprof import __version__
from swiftprof.core.stages import check_layers, tokens_per_layer
from swiftprof.costs.flops import DecoderShape, plan_flops
from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object, validated, write_text_atomic
from swiftprof.hub import PLAN, fetch, is_shared
from swiftprof.methods import REGISTRY, create, method_class
from swiftprof.models.registry import ModelInfo
from swiftprof.tables import html_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "swiftprof.plan/1"
MAX_BYTES = 1 << 20
"""No honest plan is near this size: a 128-layer plan with all its statistics has about 20 kB."""

Int = Annotated[int, Field(strict=True)]
Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]


class _Part(BaseModel):
    """A part of the file. Unknown fields are refused: one that is ignored would change results."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Part):
    """One pruning event. `keep` and `merge` are fractions of the prompt's visual tokens.

    The first stage of a plan takes effect after its layer, the later ones before theirs (paper
    §3.3).
    """

    layer: Annotated[int, Field(strict=True, ge=0, le=4096)]
    keep: Annotated[float, Field(strict=True, gt=0, le=1)]
    merge: Share = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Stage:
        if self.keep + self.merge > 1 + 1e-9:
            raise ValueError(
                f"keep + merge is {self.keep + self.merge:g}, more than all visual tokens (1)"
            )
        return self


class Budget(_Part):
    """What was asked for: visual tokens averaged over layers, as a number and as a fraction."""

    layers: Count
    retain: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    ratio: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None


class Expected(_Part):
    """What the plan costs and promises; null where it is not known.

    `area` is P of eq. 7: the mean over layers 2..L of the capability that has been reached there.
    """

    retained_tokens: Float | None = None
    tflops: Float | None = None
    tflops_vanilla: Float | None = None
    area: Float | None = None


class Stability(_Part):
    """How far the samples decide the plan: it is made again on `bootstrap` resamples of them.

    Attributes:
        layer_frequency: layer -> share of resamples whose plan prunes there.
        plan_frequency: share of resamples that give exactly this plan's layers.
        interval: layer -> 95 % percentile interval of its capability x_i.
        regret: mean loss of area (P) by this plan against the best plan of each resample.
        regret_p95: 95th percentile of that loss.
    """

    bootstrap: Count
    layer_frequency: dict[str, Share]
    plan_frequency: Share | None = None
    interval: dict[str, tuple[Float, Float]] | None = None
    regret: Float | None = None
    regret_p95: Float | None = None


class Source(_Part):
    """Where the plan came from: a profile, or a publication (`published`).

    Attributes:
        given: what names a data set again, where that is not its name: own data by their path.
    """

    profile: str | None = None
    sha256: str | None = None
    datasets: tuple[str, ...] = ()
    samples: Count | None = None
    keep: Share | None = None
    published: str | None = None
    given: dict[str, str] = Field(default_factory=dict)


class Tried(_Part):
    """A candidate of a search.

    Attributes:
        likelihood: mean likelihood of the answers relative to the unpruned model, mean over sets.
        samples: on how many samples.
    """

    stages: tuple[Stage, ...]
    options: dict[str, JsonValue] = {}
    likelihood: Float
    samples: Count


class SearchRecord(_Part):
    """How a plan was searched for, and what that gained.

    Attributes:
        limit: as it was asked for, a time or a number of candidates.
        equal: what candidates have in common with the paper's plan: `flops` or `tokens`.
        risk: chance that a candidate which left was better than the leader it was compared with.
        tried: candidates that were measured.
        samples: data set -> samples to search, to choose among finalists, and to report.
        candidates: the best by likelihood.
        relative: score of the paper's plan and of the winner, relative to the unpruned model, on
            the samples to report.
        gain: by how much the winner is better there: mean, and 95 % interval of paired differences.
        better: the interval is above 0, so the winner is this plan; otherwise this is the paper's.
        other: the paper's plan where the winner was taken, otherwise the winner.
    """

    limit: str
    seed: Int
    equal: str
    risk: Share
    tried: Count
    samples: dict[str, tuple[Count, Count, Count]]
    candidates: tuple[Tried, ...]
    relative: tuple[Float, Float]
    gain: tuple[Float, Float, Float]
    better: bool
    other: dict[str, JsonValue]


class Plan(_Part):
    """A pruning plan, as stored in plan.json. Immutable; `Plan.load` and `save` are its file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        serialize_by_alias=True,
        json_schema_extra=lambda schema: schema["required"].insert(0, "schema"),
    )

    format: Annotated[str, Field(alias="schema", pattern=f"^{FORMAT}$")] = FORMAT
    model: ModelInfo
    method: Annotated[str, Field(min_length=1, max_length=100)] = "swiftvlm"
    pruning_layers: tuple[Int, ...] = ()
    stages: tuple[Stage, ...]
    options: dict[str, JsonValue] = {}
    budget: Budget | None = None
    expected: Expected = Expected()
    stability: Stability | None = None
    search: SearchRecord | None = None
    source: Source = Source()
    notes: tuple[str, ...] = ()
    swiftprof: str = Field(default_factory=lambda: __version__)

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        """Check the version first; take absent `pruning_layers` from the stages."""
        if not isinstance(values, dict):
            return values
        found = values.get("schema", values.get("format", FORMAT))
        if found != FORMAT:
            raise ValueError(
                f"schema: {str(found)[:60]!r} is not {FORMAT!r}, which swiftprof {__version__} "
                "reads; plan again"
            )
        stages = values.get("stages")
        if "pruning_layers" not in values and isinstance(stages, list | tuple):
            layers = [
                each.layer if isinstance(each, Stage) else _get(each, "layer") for each in stages
            ]
            values = {**values, "pruning_layers": layers}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if not self.stages and self.method != "vanilla":
            raise ValueError("stages: a plan needs at least one stage")
        layers = tuple(stage.layer for stage in self.stages)
        if self.pruning_layers != layers:
            raise ValueError(
                f"pruning_layers: {list(self.pruning_layers)} are not the layers of stages, "
                f"{list(layers)}"
            )
        known = method_class(self.method) if self.method in REGISTRY else None
        # Layer 0 is "before the decoder"; a method of a later version may start there.
        check_layers(layers, self.model.num_layers, known.earliest if known else 0)
        for number, (before, stage) in enumerate(pairwise(self.stages), start=1):
            if stage.keep + stage.merge > before.keep + before.merge + 1e-9:
                raise ValueError(
                    f"stages[{number}]: keep + merge grows from {before.keep + before.merge:g} to "
                    f"{stage.keep + stage.merge:g}; a later stage cannot have more tokens"
                )
        # Bypass merges only what a later stage restores; others may merge for good, at the end too.
        if known and known.bypass and self.stages[-1].merge > 0:
            raise ValueError(
                f"stages[{len(self.stages) - 1}].merge: the last stage drops the rest, so it must "
                "be 0"
            )
        return self

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read and check a plan: a file, the model whose plan comes with swiftprof, or
        hf://owner/name.

        Raises:
            SwiftprofError: one line naming file and field.
        """
        path = _located(path)
        document = read_json_object(path, "plan", MAX_BYTES)
        if "schema" not in document:
            raise SwiftprofError(
                f"{path}: schema: missing, so this is not a plan; `swiftprof plan` writes one"
            )
        return validated(cls, document, path)

    def save(self, path: str | Path) -> Path:
        """Write the plan atomically; returns the path."""
        path = Path(path)
        write_text_atomic(path, self.to_json() + "\n")
        return path

    def to_json(self) -> str:
        """The document as it is stored (indented, keys in the order of the format)."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """The document as plain JSON values, without what is empty."""
        document = self.model_dump(mode="json", by_alias=True)
        for name in ("options", "notes", "search"):
            if not document[name]:
                del document[name]
        if not document["source"]["given"]:
            del document["source"]["given"]
        return document

    def check_model(self, num_layers: int, name: str) -> None:
        """Refuse a model of another depth. Raises SwiftprofError."""
        if num_layers != self.model.num_layers:
            raise SwiftprofError(
                f"plan: made for {self.model.name} with {self.model.num_layers} layers, but "
                f"{name} has {num_layers}; profile {name} and plan again"
            )

    @property
    def first(self) -> str:
        """Whether the first stage takes effect `after` its layer or `before` it."""
        if self.method not in REGISTRY:
            return str(self.options.get("first", "after"))
        return create(self.method, self.options).first

    def tokens_per_layer(self, n_visual: int) -> list[float]:
        """Visual tokens (kept + merged) that enter each layer 1..L of a prompt with `n_visual`."""
        return tokens_per_layer(self.stages, self.model.num_layers, n_visual, self.first)

    def retained(self, n_visual: int) -> float:
        """N: the visual tokens that enter a layer, averaged over layers."""
        return sum(self.tokens_per_layer(n_visual)) / self.model.num_layers

    def flops(self, shape: DecoderShape, n_visual: int, n_text: float) -> float:
        """FLOPs of a prefill, overhead included."""
        method = create(self.method, self.options)
        return plan_flops(shape, self.stages, n_visual, n_text, method=method)

    def plot(self) -> Figure:
        """The visual tokens that enter each layer, as a matplotlib figure."""
        from swiftprof.planning.drawing import schedule_figure

        return schedule_figure(self)

    def _repr_html_(self) -> str:
        from swiftprof.drawing import picture_html

        layers = ", ".join(map(str, self.pruning_layers)) or "none"
        title = f"{self.method} for {self.model.name}: pruning layers {layers}"
        return f"<p><b>{html_text(title)}</b></p>{picture_html(self.plot(), title)}"


def schema_text() -> str:
    """The JSON Schema of plan.json as it is published beside this module."""
    return json.dumps(Plan.model_json_schema(by_alias=True, mode="validation"), indent=2) + "\n"


def shipped_plans() -> dict[str, Path]:
    """Plans that come with swiftprof: short name of a model → its file.

    `llava-1.5-7b` has the layers that arXiv 2602.03134 publishes; the plans of the bundled models
    were made from the profiles beside them (`swiftprof.tiny`).
    """
    folder = Path(str(files("swiftprof.planning").joinpath("plans")))
    return {file.stem: file for file in sorted(folder.glob("*.json"))}


def _located(reference: str | Path) -> Path:
    """The file of a plan."""
    if is_shared(reference):
        return fetch(str(reference), PLAN)
    path = Path(reference)
    return path if path.exists() else shipped_plans().get(str(reference), path)


def _get(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
