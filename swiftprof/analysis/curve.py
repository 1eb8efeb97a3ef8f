"""The capability curve per data set, with intervals (paper Fig. 4). Read from a profile."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.numbers import percent
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import SampleScores, combine
from swiftprof.planning.stability import curve_intervals
from swiftprof.profiling.store import Profile

COMBINED = "all data sets"


class Line(BaseModel):
    """One curve: capability relative to the unpruned model, and its 95 % interval, by layer."""

    model_config = ConfigDict(frozen=True)

    x: list[float]
    low: list[float]
    high: list[float]
    samples: int
    vanilla: float | None = None

    @property
    def best(self) -> int:
        """Place of the highest value."""
        return self.x.index(max(self.x))


class Data(BaseModel):
    """What was measured.

    Attributes:
        layers: layers of the values, from 1.
        plan: pruning layers, where a plan is shown beside the curve.
    """

    model_config = ConfigDict(frozen=True)

    num_layers: int
    keep: float
    layers: list[int]
    combined: Line
    per_dataset: dict[str, Line]
    plan: list[int] = []
    profile: str = ""


def measure(profile: Profile, plan: tuple[int, ...] = ()) -> Data:
    """Curves of a profile: of each data set, and their mean."""
    samples = profile.samples
    sizes = {name: len(scores.vanilla) for name, scores in samples.items()}
    return Data(
        num_layers=profile.model.num_layers,
        keep=profile.keep,
        layers=list(profile.layers),
        combined=_line(samples, sum(sizes.values()), None),
        per_dataset={
            name: _line({name: scores}, sizes[name], float(scores.vanilla.mean()))
            for name, scores in samples.items()
        },
        plan=list(plan),
        profile=str(profile.path),
    )


def _line(samples: Mapping[str, SampleScores], size: int, vanilla: float | None) -> Line:
    low, high = curve_intervals(samples)
    return Line(
        x=combine(samples).round(6).tolist(),
        low=low.round(6).tolist(),
        high=high.round(6).tolist(),
        samples=size,
        vanilla=vanilla,
    )


def describe(data: Data) -> Description:
    """The curve in words."""
    found = data.combined
    best = data.layers[found.best]
    base = found.x[data.layers.index(BASE_LAYER)]
    falls = sum(b < a for a, b in zip(found.x, found.x[1:], strict=False))
    findings = [
        f"Layer {best} tells visual tokens apart best: with its top {percent(data.keep)} alone the "
        f"model keeps {percent(found.x[found.best], 1)} of its score, with layer {BASE_LAYER}'s "
        f"{percent(base, 1)}.",
        f"Capability does not simply grow with depth: it falls {falls} times from one layer to the "
        f"next, and the last layer's is {percent(found.x[-1], 1)}."
        if falls
        else "Capability never falls from one layer to the next here.",
    ]
    peaks = {name: data.layers[line.best] for name, line in data.per_dataset.items()}
    if len(peaks) > 1:
        findings.append(
            "Best layer of each data set: "
            + ", ".join(f"{name} {layer}" for name, layer in peaks.items())
            + "."
        )
    names = list(data.per_dataset)
    lines = [*data.per_dataset.values(), found]
    record, rows = float("-inf"), []
    for place, layer in enumerate(data.layers):
        new = layer > BASE_LAYER and found.x[place] > record
        record = max(record, found.x[place])
        cells = [
            *(f"{line.x[place]:.3f}" for line in lines),
            f"{found.low[place]:.3f}–{found.high[place]:.3f}",
        ]
        marks = ("record " if new else "") + ("plan" if layer in data.plan else "")
        rows.append((str(layer), *cells, marks.strip()))
    table = Table(
        title="Capability x, relative to the unpruned model",
        columns=("layer", *names, COMBINED, "95 % interval", ""),
        rows=tuple(rows),
        note="The interval is over samples; each data set's own is in the figure and in the JSON. "
        "record: better than every earlier layer.",
    )
    sizes = {name: line.samples for name, line in data.per_dataset.items()}
    measured = (
        f"Score of the model when layers 3–{data.num_layers} see the text and only one layer's top "
        f"{percent(data.keep)} of the visual tokens, relative to the unpruned model on the same "
        f"samples ({samples_text(sizes)}); stored in {data.profile}. Intervals: bootstrap over "
        "samples."
    )
    return Description(measured, tuple(findings), (table,))
