"""The capability curve per data set, with intervals (paper Fig. 4). Read from a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import Analysis, BudgetOpt, Subject
from swiftprof.analysis.document import Data, Description
from swiftprof.core.stages import BASE_LAYER
from swiftprof.planning.curve import Curve, SampleScores, combine
from swiftprof.tables import Table, percent, samples_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from swiftprof.profiling.store import Profile

COMBINED = "all data sets"
_COLUMNS = 3


class Line(BaseModel):
    """One curve: capability relative to the unpruned model, and its 95 % interval, by layer."""

    model_config = ConfigDict(frozen=True)

    x: list[float]
    low: list[float]
    high: list[float]
    samples: int

    @property
    def best(self) -> int:
        """Place of the highest value."""
        return self.x.index(max(self.x))


class Curves(Data):
    """What was measured.

    Attributes:
        layers: layers of the values, from 1.
        plan: pruning layers that are marked.
    """

    num_layers: int
    keep: float
    layers: list[int]
    combined: Line
    per_dataset: dict[str, Line]
    plan: tuple[int, ...] = ()
    profile: str = ""

    @classmethod
    def of(cls, profile: Profile, plan: tuple[int, ...] = (), where: str = "") -> Curves:
        """Curves of a profile: of each data set, and their mean. `where`: its name, by default
        its folder."""
        samples = profile.samples
        sizes = {name: len(scores.vanilla) for name, scores in samples.items()}
        return cls(
            datasets=sizes,
            num_layers=profile.model.num_layers,
            keep=profile.keep,
            layers=list(profile.layers),
            combined=_line(samples, sum(sizes.values())),
            per_dataset={
                name: _line({name: scores}, sizes[name]) for name, scores in samples.items()
            },
            plan=plan,
            profile=where or str(profile.path),
        )

    def describe(self) -> Description:
        found = self.combined
        best = self.layers[found.best]
        base = found.x[self.layers.index(BASE_LAYER)]
        falls = sum(b < a for a, b in zip(found.x, found.x[1:], strict=False))
        findings = [
            f"Layer {best} of {self.num_layers} tells visual tokens apart best: with its top "
            f"{percent(self.keep)} alone the model keeps {percent(found.x[found.best], 1)} "
            f"[{100 * found.low[found.best]:.1f}, {100 * found.high[found.best]:.1f}] of its "
            f"score, with layer {BASE_LAYER}'s {percent(base, 1)}.",
            f"Capability does not simply grow with depth: it falls {falls} times from one layer to "
            f"the next, and the last layer's is {percent(found.x[-1], 1)}."
            if falls
            else "Capability never falls from one layer to the next here.",
        ]
        peaks = {name: self.layers[line.best] for name, line in self.per_dataset.items()}
        if len(peaks) > 1:
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
        found, record, rows = self.combined, float("-inf"), []
        for place, layer in enumerate(self.layers):
            new = layer > BASE_LAYER and found.x[place] > record
            record = max(record, found.x[place])
            cells = [
                *(f"{line.x[place]:.3f}" for line in (*self.per_dataset.values(), found)),
                f"{found.low[place]:.3f}–{found.high[place]:.3f}",
            ]
            marks = ("record " if new else "") + ("plan" if layer in self.plan else "")
            rows.append((str(layer), *cells, marks.strip()))
        return Table(
            title="Capability x, relative to the unpruned model",
            columns=("layer", *self.per_dataset, COMBINED, "95 % interval", ""),
            rows=tuple(rows),
            note="The interval is over samples. record: better than every earlier layer.",
        )

    def draw(self) -> Figure:
        """The combined curve with its plan above, small multiples of the data sets below."""
        import numpy as np

        from swiftprof.drawing import canvas
        from swiftprof.planning.drawing import draw_curve_on

        names = list(self.per_dataset)
        rows = -(-len(names) // _COLUMNS) if len(names) > 1 else 0
        figure = canvas(9, 4.2 + 2.1 * rows)
        top, *below = figure.subfigures(
            1 + (rows > 0), 1, height_ratios=(4.2, 2.1 * rows) if rows else None, squeeze=False
        )[:, 0]
        found = self.combined
        ends = dict(zip(self.layers, zip(found.low, found.high, strict=True), strict=True))
        name = f"Mean of {len(names)} data sets" if len(names) > 1 else names[0]
        draw_curve_on(
            top.add_subplot(),
            Curve(self.num_layers, tuple(self.layers), np.array(found.x)),
            self.plan or None,
            None,
            ends,
            f"{name}: top {percent(self.keep)} of each layer, {found.samples} samples",
        )
        if rows:
            columns = min(_COLUMNS, len(names))
            panels = below[0].subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
            for panel, name in zip(panels.flat, names, strict=False):
                self._small(panel, name)
            for panel in list(panels.flat)[len(names) :]:
                panel.set_visible(False)
            for row in panels:
                row[0].set_ylabel("capability x")
        return figure

    def _small(self, axes: Axes, name: str) -> None:
        from swiftprof.drawing import ACCENT, INK, MAIN, brief, furnish, layer_ticks

        line = self.per_dataset[name]
        best = self.layers[line.best]
        axes.fill_between(self.layers, line.low, line.high, color=MAIN, alpha=0.18, linewidth=0)
        axes.plot(self.layers, line.x, "-", color=MAIN, linewidth=1.6)
        axes.plot([best], [line.x[line.best]], "o", color=ACCENT, markersize=5)
        axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xticks(layer_ticks(self.num_layers, 8))
        furnish(axes, f"{brief(name, 18)}: {line.samples} samples, best {best}")


def _line(samples: Mapping[str, SampleScores], size: int) -> Line:
    from swiftprof.planning.stability import curve_intervals

    low, high = curve_intervals(samples)
    return Line(
        x=combine(samples).round(6).tolist(),
        low=low.round(6).tolist(),
        high=high.round(6).tolist(),
        samples=size,
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
