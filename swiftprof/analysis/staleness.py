"""How fast does a selection grow stale? x_i(t): layer i's selection, used from layer t on.

The paper's x_i uses every layer's selection from layer 3 on, and says nothing of when it is used.
Here layers 1..t-1 run on everything, as in the unpruned model, and layers t..L on the text and the
selection that layer i <= t made (i = t: judged by layer t's own projections before it runs). What a
plan loses can then be read off: its stage at layer i, in use until the next one at layer j, costs
x_i(j) - x_i(i).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import typer
from numpy.typing import NDArray

from swiftprof.analysis.base import OnSamples, Progress, SamplesOpt, Subject
from swiftprof.analysis.document import Data, Description
from swiftprof.core.stages import BASE_LAYER
from swiftprof.errors import BadParameter
from swiftprof.tables import Table, percent, samples_text, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from swiftprof.analysis.sampling import Batch, Sampling
    from swiftprof.models.loading import VLM

Floats = NDArray[np.float64]
FIRST = BASE_LAYER + 1
"""The first layer that selects."""
AGES = (1, 2, 4, 8)
"""Layers since a selection was made, for the table."""


class Stale(Data):
    """What was measured.

    Attributes:
        keep: V, the share of the visual tokens that is selected.
        x: `[i - 3][t - 3]`, x_i(t) for 3 <= i <= t <= L; None where t < i.
    """

    num_layers: int
    keep: float
    x: list[list[float | None]]

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
        fresh = np.diag(self.matrix)
        low, high = int(np.argmin(fresh)), int(np.argmax(fresh))
        findings = (
            f"Selections grow stale: at the same layer, one made {AGES[1]} layers ago is worth "
            f"{signed(-self.loss_of_age(AGES[1]))} points against a fresh one on average, one made "
            f"{AGES[-1]} ago {signed(-self.loss_of_age(AGES[-1]))}.",
            f"A fresh selection, judged and used at the same layer, keeps {percent(fresh[0], 1)} "
            f"at layer {FIRST}, least at layer {FIRST + low} ({percent(fresh[low], 1)}), most at "
            f"layer {FIRST + high} ({percent(fresh[high], 1)}).",
        )
        measured = (
            f"x_i(t): likelihood of the reference answer, relative to the unpruned model's, on "
            f"{samples_text(self.datasets)}, with the top {percent(self.keep)} of layer i from "
            "layer t on."
        )
        ages = Table(
            title="What age costs: a fresh selection's x less that of an old one, same layer",
            columns=("layers since it was made", *map(str, AGES)),
            rows=(("points", *(f"{100 * self.loss_of_age(age):.1f}" for age in AGES)),),
        )
        return Description(measured, findings, (ages,))

    def draw(self) -> Figure:
        """x_i(t) as a heat map, and what age costs."""
        from swiftprof.drawing import MAIN, canvas, furnish, layer_map

        figure = canvas(9, 3.9)
        heat, age = figure.subplots(1, 2, width_ratios=(1.25, 1))
        layer_map(
            heat, 100 * self.matrix, FIRST, "of the unpruned score, %", cmap="cividis", vmax=100
        )
        heat.set_xlabel("used from layer t on")
        heat.set_ylabel("layer i that selects")
        furnish(heat, "x of layer i from layer t on", grid="")
        ages = list(range(min(12, self.num_layers - FIRST) + 1))
        age.plot(ages, [100 * self.loss_of_age(a) for a in ages], "o-", color=MAIN, linewidth=2)
        age.set_xlabel("layers since it was made")
        age.set_ylabel("loss against a fresh one, points")
        furnish(age, "What age costs")
        return figure


def measured(sampling: Sampling, keep: float, progress: Progress | None = None) -> Floats:
    """x_i(t), `(L - 2, L - 2)`, mean over data sets; NaN where t < i."""
    found: dict[str, list[tuple[Floats, float]]] = {}
    for batch in sampling.batches(progress):
        found.setdefault(batch.dataset.name, []).append(_batch(sampling.vlm, batch, keep))
    sums = ([sum(each) for each in zip(*sets, strict=True)] for sets in found.values())
    return np.mean([scores / vanilla for scores, vanilla in sums], axis=0)


def _batch(vlm: VLM, batch: Batch, keep: float) -> tuple[Floats, float]:
    """Sums over a batch of x_i(t)'s scores and of the unpruned model's."""
    import torch

    from swiftprof.profiling.likelihood import answer_scores, answer_tokens, rerun_scores
    from swiftprof.profiling.record import record
    from swiftprof.profiling.steps import Steps

    tokenizer = getattr(vlm.processor, "tokenizer", vlm.processor)
    references = [batch.dataset.reference(s) for s in batch.samples]
    answers = answer_tokens(references, tokenizer, vlm.model.device)
    steps, layers = Steps(vlm.model), range(vlm.num_layers)
    recording = record(steps, batch.inputs, vlm.image_token_id, 1, answers, hidden_at=layers)
    selections = recording.select(keep)
    size = len(layers) - BASE_LAYER
    scores = np.full((size, size), np.nan)
    for place in range(size):
        start = BASE_LAYER + place  # 0-based layer that first sees the selection
        candidates = [each[BASE_LAYER : start + 1] for each in selections]
        with torch.inference_mode():
            found = rerun_scores(recording, candidates, answers, start=start)
        scores[: place + 1, place] = np.sum(found, axis=0)
    return scores, sum(answer_scores(recording, answers))


@dataclass(frozen=True)
class Staleness(OnSamples):
    """How fast does a layer's selection grow stale?

    Measures the likelihood of the reference answers with the selection of every layer, used from
    every later layer on.
    """

    title: ClassVar[str] = "Staleness of selections"
    examples: ClassVar[tuple[str, ...]] = (
        "swiftprof analyze staleness",
        "swiftprof analyze staleness --model tiny-llava-plain --keep 0.15",
    )
    data: ClassVar[type[Data]] = Stale

    samples: SamplesOpt = 30
    keep: Annotated[
        float, typer.Option("--keep", help="Share of the visual tokens that is selected, V.")
    ] = 0.2

    def run(self, subject: Subject) -> Stale:
        if not 0 < self.keep <= 1:
            raise BadParameter("keep", self.keep, "must be above 0 and at most 1")
        sampling = self.sampling(subject)
        with subject.progress("using each layer's selection from each layer on") as step:
            x = measured(sampling, self.keep, step)
        return Stale(
            datasets=sampling.used,
            skipped=sampling.skipped,
            num_layers=sampling.vlm.num_layers,
            keep=self.keep,
            x=[[None if np.isnan(v) else round(float(v), 5) for v in row] for row in x],
        )


ANALYSIS = Staleness
