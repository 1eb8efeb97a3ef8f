"""Do bypassed tokens come back where the unpruned model would have them? (paper Fig. 7, §3.4)

A bypassed token returns as its old state plus its group's offset, the change of the group's merged
token. Three changes are compared between one stage and the next: each token's own change in the
unpruned model, the mean of a group's changes there (paper eq. 16), and the merged token's change in
the pruned run (eq. 12). Distances are in the full hidden size; the 2-D picture is only a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from swiftprof.analysis.budget import budget_text
from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.following import Followed, run_batch
from swiftprof.analysis.numbers import percent, quantiles
from swiftprof.analysis.project import project
from swiftprof.analysis.sampling import Progress, Sampling
from swiftprof.errors import SwiftprofError
from swiftprof.methods import method_class
from swiftprof.planning.plan_file import Plan

Floats = NDArray[np.float64]


class Pair(BaseModel):
    """Two changes compared over many tokens or groups, as 101 quantiles each.

    Attributes:
        cosine: of the two changes.
        error: length of their difference relative to the change that is approximated; 1 is what no
            alignment at all would give.
    """

    model_config = ConfigDict(frozen=True)

    count: int
    cosine: list[float]
    error: list[float]

    @property
    def median_error(self) -> float:
        return self.error[len(self.error) // 2]

    @property
    def median_cosine(self) -> float:
        return self.cosine[len(self.cosine) // 2]


class Step(BaseModel):
    """From one stage to the next.

    Attributes:
        after, before: the stages' layers: tokens leave after (or before) the one and are back
            before the other.
        groups: merged tokens per sample, on average.
        bypassed: tokens per sample that were bypassed, on average.
        group_mean: the merged token's change against its group's mean change.
        token: the merged token's change against each token's own.
        ideal: the group's mean change against each token's own: what one offset a group can do
            if it is right (the best in squared error).
        state: error of a returned token's hidden state, relative to the unpruned model's.
        stale: the same for a token that comes back unaligned.
    """

    model_config = ConfigDict(frozen=True)

    after: int
    before: int
    groups: float
    bypassed: float
    group_mean: Pair
    token: Pair
    ideal: Pair
    state: list[float]
    stale: list[float]


class Example(BaseModel):
    """One sample's first step in two dimensions.

    Attributes:
        tokens: (x, y) of each bypassed token's change in the unpruned model.
        group: group number of each token.
        means, merged: (x, y) of each group's mean and of its merged token's change.
        explained: share of the variance of the tokens' changes; None where the projection has no
            such number.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    dataset: str
    question: str
    projection: str
    tokens: list[tuple[float, float]]
    group: list[int]
    means: list[tuple[float, float]]
    merged: list[tuple[float, float]]
    explained: float | None


class Setting(BaseModel):
    """One number of merged tokens Z."""

    model_config = ConfigDict(frozen=True)

    merge: float
    layers: list[int]
    steps: list[Step]
    example: Example


class Data(BaseModel):
    """What was measured."""

    model_config = ConfigDict(frozen=True)

    num_layers: int
    datasets: dict[str, int]
    retain: str
    settings: list[Setting]


def measure(
    sampling: Sampling,
    plans: Mapping[float, Plan],
    *,
    projection: str = "pca",
    progress: Progress | None = None,
) -> Data:
    """Run every sample unpruned and with each plan, and compare hidden states.

    Args:
        plans: merged tokens Z / n_v -> plan with bypass; all with the same layers and budget.

    Raises:
        SwiftprofError: a plan has no bypass, or a single stage, from which nothing returns.
    """
    vlm = sampling.vlm
    for plan in plans.values():
        if not method_class(plan.method).bypass or len(plan.stages) < 2:
            raise SwiftprofError(
                "plan: only tokens that come back can be aligned; give a plan with bypass "
                "(method swiftvlm) and at least two stages"
            )
    found: dict[float, list[list[Followed]]] = {merge: [] for merge in plans}
    examples: dict[float, Example] = {}
    for batch in sampling.batches(progress):
        for merge, plan in plans.items():
            rows = run_batch(vlm.model, batch.inputs, plan, vlm.image_token_id)
            found[merge] += rows
            if merge not in examples:
                sample = batch.samples[0]
                examples[merge] = _example(
                    rows[0][0], projection, sample.id, batch.dataset.name, sample.question
                )
    first = next(iter(plans.values()))
    return Data(
        num_layers=vlm.num_layers,
        datasets=sampling.used(),
        retain=budget_text(first),
        settings=[
            Setting(
                merge=merge,
                layers=list(plan.pruning_layers),
                steps=[
                    _step(plan.pruning_layers[j], plan.pruning_layers[j + 1], [r[j] for r in rows])
                    for j in range(len(plan.stages) - 1)
                ],
                example=examples[merge],
            )
            for (merge, plan), rows in zip(plans.items(), found.values(), strict=True)
        ],
    )


def _step(after: int, before: int, rows: Sequence[Followed]) -> Step:
    return Step(
        after=after,
        before=before,
        groups=float(np.mean([len(r.merged) for r in rows])),
        bypassed=float(np.mean([len(r.group) for r in rows])),
        group_mean=_pair([(r.merged, r.mean) for r in rows]),
        token=_pair([(r.merged[r.group], r.change) for r in rows]),
        ideal=_pair([(r.mean[r.group], r.change) for r in rows]),
        state=quantiles(_errors([(r.state, r.true) for r in rows])),
        stale=quantiles(_errors([(r.stale, r.true) for r in rows])),
    )


def _pair(rows: Sequence[tuple[Tensor, Tensor]]) -> Pair:
    cosine = torch.cat([torch.cosine_similarity(a, b, dim=-1) for a, b in rows])
    return Pair(
        count=len(cosine),
        cosine=quantiles(cosine.double().cpu().numpy()),
        error=quantiles(_errors(rows)),
    )


def _errors(rows: Sequence[tuple[Tensor, Tensor]]) -> Floats:
    found = [(a - b).norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-12) for a, b in rows]
    errors: Floats = torch.cat(found).double().cpu().numpy()
    return errors


def _example(found: Followed, projection: str, id: str, dataset: str, question: str) -> Example:
    parts = [found.change, found.mean, found.merged]
    points, explained = project([p.double().cpu().numpy() for p in parts], projection)
    tokens, means, merged = ([(float(x), float(y)) for x, y in p.round(5)] for p in points)
    return Example(
        id=id,
        dataset=dataset,
        question=question,
        projection=projection,
        tokens=tokens,
        group=found.group.tolist(),
        means=means,
        merged=merged,
        explained=explained,
    )


def describe(data: Data) -> Description:
    """How well tokens are aligned, in words."""
    findings = []
    for setting in data.settings:
        step = setting.steps[0]
        median = len(step.state) // 2
        findings.append(
            f"With {step.groups:.0f} groups for {step.bypassed:.0f} bypassed tokens, from layer "
            f"{step.after} to {step.before}: a merged token's change has a median cosine of "
            f"{step.group_mean.median_cosine:.2f} with its group's mean change and "
            f"{step.token.median_cosine:.2f} with each token's own; the relative errors are "
            f"{step.group_mean.median_error:.2f} and {step.token.median_error:.2f} (1 is no "
            f"alignment; the group's true mean is off by {step.ideal.median_error:.2f})."
        )
        better = step.state[median] < step.stale[median]
        findings.append(
            f"A returned token's state is off by {percent(step.state[median])} of the unpruned "
            f"model's (median), an unaligned one's by {percent(step.stale[median])}: alignment "
            + ("helps." if better else "does not help here.")
        )
    rows = []
    for setting in data.settings:
        for step in setting.steps:
            median = len(step.state) // 2
            rows.append(
                (
                    f"{step.after} → {step.before}, {step.groups:.0f} groups",
                    f"{step.bypassed:.0f}",
                    f"{step.group_mean.median_cosine:.3f}",
                    f"{step.token.median_cosine:.3f}",
                    f"{step.group_mean.median_error:.3f}",
                    f"{step.token.median_error:.3f}",
                    f"{step.ideal.median_error:.3f}",
                    f"{step.state[median]:.3f}",
                    f"{step.stale[median]:.3f}",
                )
            )
    table = Table(
        title="Medians over all bypassed tokens (or groups) of all samples",
        columns=(
            "layers",
            "bypassed",
            "cosine to group mean",
            "to each token",
            "error to group mean",
            "to each token",
            "mean to each token",
            "returned state",
            "unaligned state",
        ),
        rows=tuple(rows),
        note="Changes and errors in the full hidden size, float32. After the first step the states "
        "that leave are themselves results of the pruned run.",
    )
    measured = (
        f"Hidden states of {samples_text(data.datasets)}, one unpruned and one pruned prefill each "
        f"({data.retain} retained), at the places where the stages act. The "
        "picture shows one sample, the first of the run, not a chosen one."
    )
    return Description(measured, tuple(findings), (table,))
