"""The capability curve per data set, with its interval (paper Fig. 4). Read from a profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from swiftprof.analysis.base import Analysis, BudgetOpt, Subject, called
from swiftprof.analysis.document import Data, Description
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import Curve
from swiftprof.tables import Table, percent, samples_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from swiftprof.profiling.store import Profile


class Curves(Data):
    """What was measured: capability relative to the unpruned model, by layer.

    Attributes:
        layers: layers of the values, from 1.
        x, low, high: mean of the data sets, and its 95 % interval over samples.
        per_dataset: data set -> its own x.
        plan: pruning layers that are marked.
    """

    num_layers: int
    keep: float
    layers: list[int]
    x: list[float]
    low: list[float]
    high: list[float]
    per_dataset: dict[str, list[float]]
    plan: tuple[int, ...] = ()
    profile: str = ""

    @classmethod
    def of(cls, profile: Profile, plan: tuple[int, ...] = (), where: str = "") -> Curves:
        """Curves of a profile. `where`: what it is called, by default by its folder."""
        columns = profile.dataframe.round(6).to_dict("list")
        return cls(
            datasets={name: len(scores.vanilla) for name, scores in profile.samples.items()},
            num_layers=profile.model.num_layers,
            keep=profile.keep,
            layers=columns["layer"],
            x=columns["x"],
            low=columns["low"],
            high=columns["high"],
            per_dataset={name: columns[name] for name in profile.samples},
            plan=plan,
            profile=where or called(profile),
        )

    def describe(self) -> Description:
        best = int(np.argmax(self.x))
        base = self.x[self.layers.index(BASE_LAYER)]
        falls = int((np.diff(self.x) < 0).sum())
        findings = [
            f"Layer {self.layers[best]} of {self.num_layers} tells visual tokens apart best: with "
            f"its top {percent(self.keep)} alone the model keeps {percent(self.x[best], 1)} "
            f"[{100 * self.low[best]:.1f}, {100 * self.high[best]:.1f}] of its score, with layer "
            f"{BASE_LAYER}'s {percent(base, 1)}.",
            f"Capability does not simply grow with depth: it falls {falls} times from one layer to "
            f"the next, and the last layer's is {percent(self.x[-1], 1)}."
            if falls
            else "Capability never falls from one layer to the next here.",
        ]
        if len(self.per_dataset) > 1:
            peaks = {n: self.layers[int(np.argmax(x))] for n, x in self.per_dataset.items()}
            each = ", ".join(f"{name} {layer}" for name, layer in peaks.items())
            findings.append(f"Best layer of each data set: {each}.")
        measured = (
            f"Score of the model when layers 3–{self.num_layers} see the text and only one layer's "
            f"top {percent(self.keep)} of the visual tokens, relative to the unpruned model on the "
            f"same samples ({samples_text(self.datasets)}); stored in {self.profile}. Intervals: "
            "bootstrap over samples."
        )
        return Description(measured, tuple(findings), (self._table(),))

    def _table(self) -> Table:
        record, rows = float("-inf"), []
        for place, layer in enumerate(self.layers):
            new = layer > BASE_LAYER and self.x[place] > record
            record = max(record, self.x[place])
            cells = [f"{x[place]:.3f}" for x in (*self.per_dataset.values(), self.x)]
            cells.append(f"{self.low[place]:.3f}–{self.high[place]:.3f}")
            marks = ("record " if new else "") + ("plan" if layer in self.plan else "")
            rows.append((str(layer), *cells, marks.strip()))
        return Table(
            title="Capability x, relative to the unpruned model",
            columns=("layer", *self.per_dataset, "all data sets", "95 % interval", ""),
            rows=tuple(rows),
            note="The interval is over samples. record: better than every earlier layer.",
        )

    def draw(self) -> Figure:
        """The mean with its interval and its plan, and the data sets."""
        from swiftprof.planning.drawing import curve_figure

        def curve(x: list[float]) -> Curve:
            return Curve(self.num_layers, tuple(self.layers), np.array(x))

        return curve_figure(
            curve(self.x),
            self.plan,
            {name: curve(x) for name, x in self.per_dataset.items()},
            dict(zip(self.layers, zip(self.low, self.high, strict=True), strict=True)),
            f"top {percent(self.keep)} of each layer, {sum(self.datasets.values())} samples",
        )


@dataclass(frozen=True)
class CurveAnalysis(Analysis):
    """Which layers can tell important visual tokens from unimportant ones? (paper Fig. 4)

    Reads a profile: nothing is run.
    """

    title: ClassVar[str] = "Capability of every layer"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze curve",
        "swiftprof analyze curve --profile profiles/mine",
    )
    data: ClassVar[type[Data]] = Curves

    budget: BudgetOpt = 3

    def run(self, subject: Subject) -> Curves:
        from swiftprof.planning.program import solve

        profile = subject.needed_profile
        return Curves.of(profile, solve(profile.curve, self.budget).layers)


ANALYSIS = CurveAnalysis
