"""Do bypassed tokens come back where the unpruned model would have them? (paper Fig. 7, §3.4)

A bypassed token returns as its old state plus its group's offset, the change of the group's merged
token. Three changes are compared between one stage and the next: each token's own change in the
unpruned model, the mean of a group's changes there (paper eq. 16), and the merged token's change in
the pruned run (eq. 12). Distances are in the full hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from swiftprof.analysis.base import (
    AtBudget,
    Progress,
    SamplesOpt,
    Subject,
    budget_text,
    names,
)
from swiftprof.analysis.document import Data, Description, samples_text
from swiftprof.analysis.numbers import percent, quantiles
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from swiftprof.analysis.following import Followed
    from swiftprof.analysis.sampling import Sampling
    from swiftprof.planning.plan_file import Plan

Floats = NDArray[np.float64]
LINES = (
    ("token", "offset ↔ each token's own change"),
    ("ideal", "best one offset a group can have"),
    ("state", "returned token's state"),
    ("stale", "… if it came back unaligned"),
)
"""Errors that are drawn: field of `Step`, and its name."""


class Step(BaseModel):
    """From one stage to the next. Errors are quantiles (5, 25, 50, 75, 95 %) of the length of a
    difference relative to what is approximated.

    Attributes:
        after, before: the stages' layers.
        groups: merged tokens per sample, on average.
        bypassed: tokens per sample that were bypassed, on average.
        cosine: median cosine of the merged token's change and its group's mean change.
        group_mean: the merged token's change against its group's mean change.
        token: the merged token's change against each token's own; 1 is no alignment.
        ideal: the group's mean change against each token's own: what one offset a group can do
            if it is right (the best in squared error).
        state: a returned token's hidden state against the unpruned model's.
        stale: the same for a token that comes back unaligned.
    """

    model_config = ConfigDict(frozen=True)

    after: int
    before: int
    groups: float
    bypassed: float
    cosine: float
    group_mean: list[float]
    token: list[float]
    ideal: list[float]
    state: list[float]
    stale: list[float]


class Setting(BaseModel):
    """One number of merged tokens Z, as a share of all."""

    model_config = ConfigDict(frozen=True)

    merge: float
    steps: list[Step]


class Aligned(Data):
    """What was measured."""

    num_layers: int
    retain: str
    settings: list[Setting]

    def describe(self) -> Description:
        findings, rows = [], []
        for setting in self.settings:
            first = setting.steps[0]
            helps = "helps" if first.state[2] < first.stale[2] else "does not help here"
            findings.append(
                f"With {first.groups:.0f} groups for {first.bypassed:.0f} bypassed tokens, from "
                f"layer {first.after} to {first.before}: a group's offset misses a token's own "
                f"change by {percent(first.token[2])} of it (median; the group's true mean by "
                f"{percent(first.ideal[2])}). The returned state is off by "
                f"{percent(first.state[2], 1)}, an unaligned one by {percent(first.stale[2], 1)}: "
                f"alignment {helps}."
            )
            for step in setting.steps:
                numbers = (step.cosine, step.group_mean[2], *(_of(step, n)[2] for n, _ in LINES))
                label = f"{step.after} → {step.before}, {step.groups:.0f} groups"
                rows.append((label, f"{step.bypassed:.0f}", *(f"{n:.3f}" for n in numbers)))
        table = Table(
            title="Medians over all bypassed tokens (or groups) of all samples",
            columns=(
                "layers", "bypassed", "cosine to group mean", "offset to group mean",
                "offset to token", "group mean to token", "returned state", "unaligned state",
            ),
            rows=tuple(rows),
            note="Errors relative to the change (or state) in the full hidden size, float32. After "
            "the first step the states that leave are themselves results of the pruned run.",
        )  # fmt: skip
        measured = (
            f"Hidden states of {samples_text(self.datasets)}, one unpruned and one pruned prefill "
            f"each ({self.retain} retained), at the places where the stages act."
        )
        return Description(measured, tuple(findings), (table,))

    def draw(self) -> Figure:
        """The errors of each step: dots are medians, bars half of the tokens, lines 90 %."""
        from swiftprof.drawing import canvas

        rows = [(setting, step) for setting in self.settings for step in setting.steps]
        figure = canvas(9, 1.0 + 0.95 * len(rows))
        _errors(figure.add_subplot(), rows)
        return figure


def _of(step: Step, name: str) -> list[float]:
    found: list[float] = getattr(step, name)
    return found


def _errors(axes: Axes, rows: Sequence[tuple[Setting, Step]]) -> None:
    from swiftprof.drawing import ACCENT, FAINT, INK, MAIN, furnish

    colours = {"token": MAIN, "ideal": FAINT, "state": ACCENT, "stale": FAINT}
    y, ticks, words, least = 0.0, [], [], 100.0
    for _, step in reversed(rows):
        for name, said in reversed(LINES):
            q = [100 * max(value, 1e-4) for value in _of(step, name)]
            least = min(least, q[0])
            axes.plot([q[0], q[4]], [y, y], "-", color=colours[name], linewidth=1)
            axes.plot([q[1], q[3]], [y, y], "-", color=colours[name], linewidth=4.5, alpha=0.55)
            axes.plot(q[2], y, "o", color=colours[name], markersize=5, mec=INK, mew=0.5)
            ticks.append(y)
            words.append(said)
            y += 0.62
        axes.text(
            0.01, y, f"layer {step.after} → {step.before}, {step.groups:.0f} groups", fontsize=8.5,
            fontweight="bold", va="center", transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        y += 0.85
    axes.set_xscale("log")
    axes.set_xlim(least * 0.8, None)
    axes.set_yticks(ticks)
    axes.set_yticklabels(words, fontsize=8.5)
    axes.axvline(100, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.5, y - 0.2)
    axes.set_xlabel("error, % (dot: median, bar: half of them, line: 90 %; dashed: no alignment)")
    furnish(axes, "How far bypassed tokens are off when they come back", grid="x")


def measure(
    sampling: Sampling, plans: Mapping[float, Plan], progress: Progress | None = None
) -> Aligned:
    """Run every sample unpruned and with each plan, and compare hidden states.

    Args:
        plans: merged tokens Z / n_v -> plan with bypass; all with the same layers and budget.

    Raises:
        SwiftprofError: a plan has no bypass, or a single stage, from which nothing returns.
    """
    from swiftprof.analysis.following import run_batch
    from swiftprof.methods import method_class

    vlm = sampling.vlm
    for plan in plans.values():
        if not method_class(plan.method).bypass or len(plan.stages) < 2:
            raise SwiftprofError(
                "plan: only tokens that come back can be aligned; give a plan with bypass "
                "(method swiftvlm) and at least two stages"
            )
    found: dict[float, list[list[Followed]]] = {merge: [] for merge in plans}
    for batch in sampling.batches(progress):
        for merge, plan in plans.items():
            found[merge] += run_batch(vlm.model, batch.inputs, plan, vlm.image_token_id)
    return Aligned(
        datasets=sampling.used(),
        skipped=sampling.broken(),
        num_layers=vlm.num_layers,
        retain=budget_text(next(iter(plans.values()))),
        settings=[
            Setting(
                merge=merge,
                steps=[
                    _step(plan.pruning_layers[j], plan.pruning_layers[j + 1], [r[j] for r in rows])
                    for j in range(len(plan.stages) - 1)
                ],
            )
            for (merge, plan), rows in zip(plans.items(), found.values(), strict=True)
        ],
    )


def _step(after: int, before: int, rows: Sequence[Followed]) -> Step:
    import torch

    cosine = torch.cat([torch.cosine_similarity(r.merged, r.mean, dim=-1) for r in rows])
    return Step(
        after=after,
        before=before,
        groups=float(np.mean([len(r.merged) for r in rows])),
        bypassed=float(np.mean([len(r.group) for r in rows])),
        cosine=round(float(cosine.median()), 5),
        group_mean=_off([(r.merged, r.mean) for r in rows]),
        token=_off([(r.merged[r.group], r.change) for r in rows]),
        ideal=_off([(r.mean[r.group], r.change) for r in rows]),
        state=_off([(r.state, r.true) for r in rows]),
        stale=_off([(r.stale, r.true) for r in rows]),
    )


def _off(rows: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    import torch

    found = [(a - b).norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-12) for a, b in rows]
    return quantiles(torch.cat(found).double().cpu().numpy())


@dataclass(frozen=True)
class Alignment(AtBudget):
    """Do bypassed tokens come back where the unpruned model would have them? (paper Fig. 7)

    Runs each sample unpruned and pruned, and compares hidden states at the plan's stages.
    """

    title: ClassVar[str] = "Alignment of bypassed tokens"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze alignment",
        "swiftprof analyze alignment --ratio 2/9 --merge 0.1,0.03",
    )
    data: ClassVar[type[Data]] = Aligned

    samples: SamplesOpt = 20
    merge: Annotated[
        str, typer.Option("--merge", help="Merged tokens as fractions of all, with commas.")
    ] = "0.05,0.015"

    def run(self, subject: Subject) -> Aligned:
        shares = []
        for text in names(self.merge):
            try:
                shares.append(float(text))
            except ValueError:
                shares.append(-1.0)
        if not shares or not all(0 < share < 1 for share in shares):
            raise BadParameter(
                "merge", self.merge[:60], "must be fractions of the visual tokens above 0"
            )
        plans = {}
        for share in shares:
            (plans[share],) = self.plans(subject, f"swiftvlm:merge={share:g}").values()
        sampling = self.sampling(subject)
        with subject.progress("following tokens") as step:
            return measure(sampling, plans, step)


ANALYSIS = Alignment
