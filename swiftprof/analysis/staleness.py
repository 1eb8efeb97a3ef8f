"""How fast does a selection grow stale? x_i(t): layer i's selection, used from layer t on.

The paper's x_i uses every layer's selection from layer 3 on, and says nothing of when it is used.
Here layers 1..t-1 run on everything, as in the unpruned model, and layers t..L on the text and the
selection that layer i <= t made (i = t: judged by layer t's own projections before it runs). What
a plan loses can then be read off: its stage at layer i, in use until the next one at layer j, costs
x_i(j) - x_i(i), and

    S = 1 - sum_k (x_{i_k}(i_{k+1}) - x_{i_k}(i_k)),      i_1 = 3, x_i(L + 1) = 1

is maximised by dynamic programming over all layer sets, records or not. Does that find better
plans? They answer held-out samples beside the paper's plan, at equal numbers of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import AtBudget, SamplesOpt, Subject, budget_text
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import percent, signed
from swiftprof.core.stages import BASE_LAYER
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from swiftprof.analysis.layer_sets import Measured
    from swiftprof.planning.plan_file import Plan

Floats = NDArray[np.float64]
FIRST = BASE_LAYER + 1
"""The first stage of every plan that S chooses: pruning starts where the paper's curve does."""
AGES = (1, 2, 4, 8)
"""Layers since a selection was made, for the table."""


class Checked(BaseModel):
    """A plan on held-out samples.

    Attributes:
        predicted: S; None for plans that were not chosen by it.
        tflops: of the prefill.
        relative: score relative to the unpruned model, mean over data sets.
        difference: to the paper's plan, paired, with its 95 % interval; None for that plan itself.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    layers: list[int]
    predicted: float | None
    tflops: float | None
    relative: float
    difference: tuple[float, float, float] | None


class Stale(Data):
    """What was measured.

    Attributes:
        keep: V, so that a plan that prunes evenly from layer 3 on has the token budget.
        x: `[i - 3][t - 3]`, x_i(t) for 3 <= i <= t <= L; NaN is stored as None.
        checked: plans on held-out samples, the paper's first.
        check: data set -> samples of that.
    """

    num_layers: int
    keep: float
    x: list[list[float | None]]
    retain: str
    checked: list[Checked]
    check: dict[str, int]

    @property
    def matrix(self) -> Floats:
        """x, NaN where t < i."""
        return np.array([[np.nan if v is None else v for v in row] for row in self.x])

    def loss_of_age(self, age: int) -> float:
        """Mean loss by a selection so old against a fresh one, x_t(t) - x_{t-age}(t)."""
        x = self.matrix
        places = range(age, len(x))
        return float(np.mean([x[t, t] - x[t - age, t] for t in places])) if len(places) else 0.0

    def describe(self) -> Description:
        x, paper = self.matrix, self.checked[0]
        fresh = np.diag(x)
        low, high = int(np.argmin(fresh)), int(np.argmax(fresh))
        findings = [
            f"Selections grow stale: at the same layer, one made {AGES[1]} layers ago is worth "
            f"{signed(-self.loss_of_age(AGES[1]))} points against a fresh one on average, one made "
            f"{AGES[-1]} ago {signed(-self.loss_of_age(AGES[-1]))}.",
            f"A fresh selection, judged and used at the same layer, keeps {percent(fresh[0], 1)} "
            f"at layer {FIRST}, least at layer {FIRST + low} ({percent(fresh[low], 1)}), most at "
            f"layer {FIRST + high} ({percent(fresh[high], 1)}).",
        ]
        for each in self.checked[1:]:
            assert each.difference is not None
            value, least, most = (signed(v) for v in each.difference)
            findings.append(
                f"{each.name}, judged by {_list(each.layers)}: {percent(each.relative, 1)} of the "
                f"unpruned score, {value} points [{least}, {most}] against the paper's plan "
                f"({_list(paper.layers)}, {percent(paper.relative, 1)})."
            )
        measured = (
            f"x_i(t): likelihood of the reference answer, relative to the unpruned model's, on "
            f"{samples_text(self.datasets)} of the training split, with the top "
            f"{percent(self.keep)} of layer i from layer t on. Plans: greedy answers to "
            f"{samples_text(self.check)} of the evaluation split, {self.retain} retained on "
            "average; all but the paper's plan judge before their layers."
        )
        return Description(measured, tuple(findings), self._tables())

    def _tables(self) -> tuple[Table, ...]:
        ages = Table(
            title="What age costs: a fresh selection's x less that of an old one, same layer",
            columns=("layers since it was made", *map(str, AGES)),
            rows=(("points", *(f"{100 * self.loss_of_age(age):.1f}" for age in AGES)),),
        )
        rows = tuple(
            (
                each.name,
                _list(each.layers),
                "–" if each.predicted is None else percent(each.predicted, 1),
                "–" if each.tflops is None else f"{1000 * each.tflops:.4g}",
                percent(each.relative, 1),
                "–"
                if each.difference is None
                else "{} [{}, {}]".format(*(signed(v) for v in each.difference)),
            )
            for each in self.checked
        )
        plans = Table(
            title="Plans on held-out samples, at equal numbers of tokens",
            columns=("plan", "layers", "S", "GFLOPs", "measured", "to the paper's [95 %]"),
            rows=rows,
            left=(0, 1),
        )
        return ages, plans

    def draw(self) -> Figure:
        """x_i(t) as a heat map, what age costs, and the plans."""
        from swiftprof.drawing import ACCENT, MAIN, canvas, furnish, layer_ticks

        figure = canvas(11, 3.9)
        heat, age, plans = figure.subplots(1, 3, width_ratios=(1.25, 0.9, 1.25))
        depth = self.num_layers
        image = heat.imshow(
            100 * self.matrix, origin="lower", cmap="cividis", interpolation="nearest",
            extent=(FIRST - 0.5, depth + 0.5, FIRST - 0.5, depth + 0.5), vmax=100,
        )  # fmt: skip
        heat.set_xlabel("used from layer t on")
        heat.set_ylabel("layer i that selects")
        ticks = [layer for layer in layer_ticks(depth, 8) if layer >= FIRST]
        heat.set_xticks(ticks)
        heat.set_yticks(ticks)
        furnish(heat, "x of layer i from layer t on", grid="")
        bar = figure.colorbar(image, ax=heat, shrink=0.85)
        bar.set_label("of the unpruned score, %")
        bar.outline.set_visible(False)

        most = min(12, depth - FIRST)
        ages = list(range(most + 1))
        age.plot(ages, [100 * self.loss_of_age(a) for a in ages], "o-", color=MAIN, linewidth=2)
        age.set_xlabel("layers since it was made")
        age.set_ylabel("loss against a fresh one, points")
        furnish(age, "What age costs")
        for y, each in enumerate(reversed(self.checked)):
            colour = ACCENT if each.difference is None else MAIN
            plans.plot(100 * each.relative, y, "o", color=colour, markersize=7)
            if each.difference is not None:
                base = self.checked[0].relative
                ends = [100 * (base + v) for v in each.difference[1:]]
                plans.plot(ends, [y, y], "-", color=colour, linewidth=1.6)
        plans.axvline(100 * self.checked[0].relative, color=ACCENT, linewidth=0.9, linestyle=":")
        plans.set_yticks(range(len(self.checked)))
        plans.set_yticklabels([each.name for each in reversed(self.checked)], fontsize=8.5)
        plans.tick_params(axis="y", length=0)
        plans.margins(x=0.1, y=0.15)
        plans.set_xlabel("score, % of the unpruned model")
        furnish(plans, "Plans, held-out samples", grid="x")
        return figure


def best_layers(x: Floats, stages: int) -> tuple[tuple[int, ...], float]:
    """The layers that maximise S, and S.

    Args:
        x: `(n, n)`, x_i(t) for layers 3..L; NaN where t < i.
        stages: how many at most; the first is at layer 3.
    """
    size = len(x)
    whole = np.concatenate([x, np.ones((size, 1))], axis=1)  # nobody uses it from L + 1 on
    cost = whole - np.diag(x)[:, None]  # [i, j]: layer i's selection in use until j
    best = np.full((stages + 1, size), np.inf)  # least loss from a stage at i on, k stages left
    then = np.zeros((stages + 1, size), dtype=int)
    for k in range(1, stages + 1):
        for i in range(size):
            ends = [(float(cost[i, size]), size)]
            ends += [(float(cost[i, j] + best[k - 1, j]), j) for j in range(i + 1, size)]
            best[k, i], then[k, i] = min(ends)
    layers, i, k = [], 0, stages
    while i < size:
        layers.append(i + FIRST)
        i, k = int(then[k, i]), k - 1
    return tuple(layers), 1 - float(best[stages, 0])


@dataclass(frozen=True)
class Staleness(AtBudget):
    """How fast does a layer's selection grow stale, and does a plan that knows it do better?

    Measures the likelihood of the reference answers of train samples with the selection of every
    layer from every later layer on, chooses layers by it, and answers held-out samples with these
    plans, with evenly spaced layers, and with the paper's plan.
    """

    title: ClassVar[str] = "Staleness of selections"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze staleness",
        "swiftprof analyze staleness --model tiny-llava-plain --ratio 2/9 --check 200",
    )
    data: ClassVar[type[Data]] = Stale

    samples: SamplesOpt = 30
    stages: Annotated[
        str, typer.Option("--stages", help="Numbers of stages to plan by S, with commas.")
    ] = "3,5"
    check: Annotated[
        int, typer.Option("--check", min=1, help="Held-out samples of each set for the plans.")
    ] = 100

    def run(self, subject: Subject) -> Stale:
        from swiftprof.analysis.layer_sets import answer_with
        from swiftprof.analysis.used_from import measured
        from swiftprof.methods import create

        sampling = self.sampling(subject)
        depth, visual = subject.vlm.num_layers, subject.cost.tokens
        target = self.target().target
        retain = target.retain if target.retain is not None else (target.ratio or 1 / 3) * visual
        keep = (retain * depth - BASE_LAYER * visual) / ((depth - BASE_LAYER) * visual)
        training = replace(sampling, split="train", skipped={})
        with subject.progress("using each layer's selection from each layer on") as step:
            x = measured(training, keep, step)
        chosen: dict[str, tuple[tuple[int, ...], float | None]] = {}
        for k in [int(each) for each in self.stages.split(",")]:
            layers, predicted = best_layers(x, k)
            chosen[f"by staleness, {len(layers)} stages"] = (layers, predicted)
        most = max(len(layers) for layers, _ in chosen.values())
        spaced = np.linspace(FIRST, depth, most, endpoint=False).astype(int)
        even = tuple(int(layer) for layer in dict.fromkeys(spaced))
        chosen[f"evenly spaced, {len(even)} stages"] = (even, None)
        plans = {"the paper's": next(iter(self.plans(subject, "swiftvlm").values()))}
        for name, (layers, _) in chosen.items():
            spec = f"swiftvlm@{'+'.join(map(str, layers))}:first=before"
            (plans[name],) = self.plans(subject, spec).values()
        with subject.progress("answering with the plans") as step:
            found = answer_with(
                replace(sampling, samples=self.check),
                plans,
                subject.folder / "staleness-answers",
                step,
            )
        return Stale(
            datasets=training.used(),
            skipped=training.broken(),
            num_layers=depth,
            keep=round(keep, 4),
            x=[[None if np.isnan(v) else round(float(v), 5) for v in row] for row in x],
            retain=budget_text(plans["the paper's"]),
            checked=[
                _checked(
                    name,
                    plan,
                    chosen[name][1] if name in chosen else None,
                    subject.cost.tflops(plan.stages, create(plan.method, plan.options)),
                    found,
                )
                for name, plan in plans.items()
            ],
            check={name: len(each) for name, each in found.vanilla.items()},
        )


def _checked(
    name: str, plan: Plan, predicted: float | None, tflops: float | None, found: Measured
) -> Checked:
    from swiftprof.evaluation.statistics import compare_paired

    paper = next(iter(found.scores))
    compared = compare_paired(found.scores[name], found.scores[paper], found.vanilla)
    change = None
    if name != paper and compared is not None:
        d = compared.difference
        change = (round(d.value, 6), round(d.low, 6), round(d.high, 6))
    return Checked(
        name=name,
        layers=list(plan.pruning_layers),
        predicted=None if predicted is None else round(predicted, 5),
        tflops=tflops,
        relative=round(found.relative(name), 6),
        difference=change,
    )


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


ANALYSIS = Staleness
