"""Does the last stage keep what the unpruned model attends to there? (paper Fig. 8)

At the layer of the plan's last stage, the tokens that the unpruned model ranks highest are compared
with those that are left after a method's last stage, at equal token budgets.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.budget import budget_text
from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.numbers import Mean, mean_interval, percent, signed
from swiftprof.analysis.sampling import Progress, Sampling
from swiftprof.core.counts import kept_count
from swiftprof.core.select import rank
from swiftprof.errors import BadParameter
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.record import record
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

SHARES = (0.05, 0.1)
"""Top shares of the unpruned model, as in the paper."""


class Overlap(BaseModel):
    """One method against one top share.

    Attributes:
        per_dataset: share of the unpruned model's top tokens that are left, one value a sample.
        kept: kept tokens at the end as a share of all: what a random choice would overlap.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    top: float
    kept: float
    per_dataset: dict[str, list[float]]
    mean: dict[str, Mean]


class Data(BaseModel):
    """What was measured.

    Attributes:
        layer: the layer of the comparison, from 1.
        differences: (method, top share, data set, mean difference to `reference`), paired.
    """

    model_config = ConfigDict(frozen=True)

    layer: int
    retain: str
    datasets: dict[str, int]
    reference: str
    overlaps: list[Overlap]
    differences: list[tuple[str, float, str, Mean]]


def measure(
    sampling: Sampling,
    plans: Mapping[str, Plan],
    reference: str,
    progress: Progress | None = None,
) -> Data:
    """Overlap of every method's last selection with the unpruned model's.

    Args:
        plans: label -> plan, at equal budgets.
        reference: label whose last stage gives the layer, and that the others are compared with.

    Raises:
        SwiftprofError: a plan without stages.
    """
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
            per_dataset={name: [round(v, 4) for v in each] for name, each in sets.items()},
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
    return Data(
        layer=layer,
        retain=budget_text(plans[reference]),
        datasets=sampling.used(),
        reference=reference,
        overlaps=overlaps,
        differences=differences,
    )


def describe(data: Data) -> Description:
    """The overlap in words."""
    findings = []
    names = list(data.datasets)
    for label, top, name, mean in data.differences:
        if top != SHARES[-1]:
            continue
        how = "fewer" if mean.high < 0 else "more" if mean.low > 0 else "as many, within noise,"
        mine = _of(data, label, top).mean[name].value
        theirs = _of(data, data.reference, top).mean[name].value
        findings.append(
            f"{name}: {label} keeps {how} of the unpruned model's top {percent(top)} "
            f"{'than' if 'noise' not in how else 'as'} {data.reference}: {percent(mine, 1)} "
            f"against {percent(theirs, 1)} (difference {signed(mean.value)} points "
            f"[{signed(mean.low)}, {signed(mean.high)}])."
        )
    rows = []
    for each in data.overlaps:
        cells = [each.mean[name].text() for name in names]
        rows.append((f"{each.method}, top {percent(each.top)}", *cells, percent(each.kept, 1)))
    table = Table(
        title=f"Share of the unpruned model's top tokens at layer {data.layer} that are left",
        columns=("method", *names, "kept at the end"),
        rows=tuple(rows),
        note="In brackets: 95 % interval over samples. A random choice would overlap by the last "
        "column.",
    )
    measured = (
        f"{samples_text(data.datasets)}: the unpruned model's T–V ranking at layer {data.layer}, "
        f"and the visual tokens kept (merged ones do not count) after each method's last stage, at "
        f"{data.retain} on average."
    )
    return Description(measured, tuple(findings), (table,))


def _of(data: Data, label: str, top: float) -> Overlap:
    return next(each for each in data.overlaps if (each.method, each.top) == (label, top))
