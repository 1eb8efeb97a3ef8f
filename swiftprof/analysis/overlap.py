"""Does the last stage keep what the unpruned model attends to there? (paper Fig. 8)

At the layer of the plan's last stage, the tokens that the unpruned model ranks highest are compared
with those that are left after a method's last stage, at equal token budgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import (
    AtBudget,
    MethodsOpt,
    Progress,
    SamplesOpt,
    Subject,
    budget_text,
    reference,
)
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import Mean, mean_interval, percent, signed
from swiftprof.errors import BadParameter
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from swiftprof.analysis.sampling import Sampling
    from swiftprof.planning.plan_file import Plan

SHARES = (0.05, 0.1)
"""Top shares of the unpruned model, as in the paper."""


class Overlap(BaseModel):
    """One method against one top share.

    Attributes:
        kept: kept tokens at the end as a share of all: what a random choice would overlap.
        mean: data set -> share of the unpruned model's top tokens that are left.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    top: float
    kept: float
    mean: dict[str, Mean]


class Overlaps(Data):
    """What was measured.

    Attributes:
        layer: the layer of the comparison, from 1.
        differences: (method, top share, data set, mean difference to `reference`), paired.
    """

    layer: int
    retain: str
    reference: str
    overlaps: list[Overlap]
    differences: list[tuple[str, float, str, Mean]]

    def describe(self) -> Description:
        findings = []
        sets = list(self.datasets)
        for label, top, name, mean in self.differences:
            if top != SHARES[-1]:
                continue
            how = (
                "fewer than" if mean.high < 0 else "more than" if mean.low > 0 else
                "as many, within noise, as"
            )  # fmt: skip
            mine = self._of(label, top).mean[name].value
            theirs = self._of(self.reference, top).mean[name].value
            findings.append(
                f"{name}: of the unpruned model's top {percent(top)}, {label} keeps {how} "
                f"{self.reference}: {percent(mine, 1)} against {percent(theirs, 1)} (difference "
                f"{signed(mean.value)} points [{signed(mean.low)}, {signed(mean.high)}])."
            )
        rows = []
        for each in self.overlaps:
            cells = [each.mean[name].text() for name in sets]
            rows.append((f"{each.method}, top {percent(each.top)}", *cells, percent(each.kept, 1)))
        table = Table(
            title=f"Share of the unpruned model's top tokens at layer {self.layer} that are left",
            columns=("method", *sets, "kept at the end"),
            rows=tuple(rows),
            note="In brackets: 95 % interval over samples. A random choice would overlap by the "
            "last column.",
        )
        measured = (
            f"{samples_text(self.datasets)}: the unpruned model's T–V ranking at layer "
            f"{self.layer}, and the visual tokens kept (merged ones do not count) after each "
            f"method's last stage, at {self.retain} on average."
        )
        return Description(measured, tuple(findings), (table,))

    def _of(self, label: str, top: float) -> Overlap:
        return next(each for each in self.overlaps if (each.method, each.top) == (label, top))

    def draw(self) -> Figure:
        """A panel per data set, a row per method and top share: the mean and its interval, on an
        axis as long as the results are spread."""
        from swiftprof.drawing import SERIES, brief, canvas, furnish

        rows = sorted(self.overlaps, key=lambda o: o.top)
        methods = [self.reference, *dict.fromkeys(o.method for o in rows)]
        colours = {m: SERIES[n % len(SERIES)] for n, m in enumerate(dict.fromkeys(methods))}
        means = [100 * m.low for o in rows for m in o.mean.values()]
        least = max(0.0, 10 * ((min(means) - 4) // 10))
        figure = canvas(2.4 + 2.6 * len(self.datasets), 1.2 + 0.34 * len(rows))
        panels = figure.subplots(1, len(self.datasets), squeeze=False, sharey=True, sharex=True)[0]
        for panel, (name, size) in zip(panels, self.datasets.items(), strict=True):
            for y, each in enumerate(reversed(rows)):
                mean, colour = each.mean[name], colours[each.method]
                panel.plot([100 * mean.low, 100 * mean.high], [y, y], color=colour, linewidth=3)
                panel.plot(100 * mean.value, y, "o", color=colour, markersize=6)
                left = mean.value > (least + 100) / 200
                panel.annotate(
                    f"{100 * mean.value:.1f}", (100 * (mean.low if left else mean.high), y),
                    xytext=(-4 if left else 4, 0), textcoords="offset points", fontsize=8.5,
                    color=colour, ha="right" if left else "left", va="center",
                )  # fmt: skip
            panel.set_xlim(least, 100 + 0.02 * (100 - least))
            panel.set_yticks(range(len(rows)))
            panel.set_yticklabels(
                [f"{brief(o.method, 24)}, top {percent(o.top)}" for o in reversed(rows)]
            )
            panel.set_ylim(-0.6, len(rows) - 0.4)
            panel.tick_params(axis="y", length=0)
            furnish(panel, f"{brief(name, 16)} ({size})", grid="x")
        figure.supxlabel(
            f"left of the unpruned model's top tokens at layer {self.layer}, %; a random choice: "
            f"{', '.join(dict.fromkeys(percent(o.kept) for o in rows))}",
            fontsize=10,
        )
        return figure


def measure(
    sampling: Sampling,
    plans: Mapping[str, Plan],
    reference: str,
    progress: Progress | None = None,
) -> Overlaps:
    """Overlap of every method's last selection with the unpruned model's.

    Args:
        plans: label -> plan, at equal budgets.
        reference: label whose last stage gives the layer, and that the others are compared with.

    Raises:
        SwiftprofError: a plan without stages.
    """
    import torch

    from swiftprof.core.counts import kept_count
    from swiftprof.core.select import rank
    from swiftprof.profiling.record import record
    from swiftprof.runtime.prune import prune
    from swiftprof.runtime.trace import Trace

    vlm = sampling.vlm
    for label, plan in plans.items():
        if not plan.stages:
            raise BadParameter("methods", label, "keeps every token, so nothing can overlap")
    layer = plans[reference].stages[-1].layer
    values: dict[tuple[str, float], dict[str, list[float]]] = {
        (label, top): {} for label in plans for top in SHARES
    }
    kept: dict[str, list[float]] = {label: [] for label in plans}
    for batch in sampling.batches(progress):
        recording = record(vlm.model, batch.inputs, vlm.image_token_id, 1)
        order = rank(recording.scores[:, layer - 1], recording.visual)
        sizes = recording.visual.sum(1).tolist()
        for label, plan in plans.items():
            trace = Trace()
            with torch.inference_mode(), prune(vlm.model, plan, on_stage=trace):
                vlm.model.generate(  # type: ignore[operator]
                    **batch.inputs, do_sample=False, num_beams=1, max_new_tokens=1
                )
            last = trace.prefills[0].events[-1].kept
            for row, n in enumerate(sizes):
                kept[label].append(float(last[row].sum()) / n)
                for top in SHARES:
                    best = order[row, : kept_count(top, n)]
                    share = float(last[row, best].float().mean())
                    values[label, top].setdefault(batch.dataset.name, []).append(share)
    overlaps = [
        Overlap(
            method=label,
            top=top,
            kept=float(np.mean(kept[label])),
            mean={name: mean_interval(each) for name, each in sets.items()},
        )
        for (label, top), sets in values.items()
    ]
    differences = [
        (label, top, name, mean_interval(np.subtract(each, values[reference, top][name])))
        for (label, top), sets in values.items()
        if label != reference
        for name, each in sets.items()
    ]
    return Overlaps(
        datasets=sampling.used(),
        skipped=sampling.broken(),
        layer=layer,
        retain=budget_text(plans[reference]),
        reference=reference,
        overlaps=overlaps,
        differences=differences,
    )


@dataclass(frozen=True)
class OverlapAnalysis(AtBudget):
    """Does the last stage keep what the unpruned model attends to there? (paper Fig. 8)

    Ranks the tokens in the unpruned model at the layer of the plan's last stage and counts how many
    of the best are left with each method, at equal token budgets.
    """

    title: ClassVar[str] = "Overlap with the unpruned model's selection"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze overlap --ratio 2/9",
        "swiftprof analyze overlap --methods fastv,pdrop,drop,swiftvlm --samples 500",
    )
    data: ClassVar[type[Data]] = Overlaps

    samples: SamplesOpt = 100
    methods: MethodsOpt = "drop,swiftvlm"

    def run(self, subject: Subject) -> Overlaps:
        plans = self.plans(subject, self.methods)
        sampling = self.sampling(subject)
        with subject.progress("comparing selections") as step:
            return measure(sampling, plans, reference(list(plans)), step)


ANALYSIS = OverlapAnalysis
