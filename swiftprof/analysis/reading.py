"""Where visual tokens are read: what is left of the score when they leave after a layer.

Together with the layers' capabilities at several V it gives an objective for plans that knows the
depth and the number of kept tokens, `swiftprof.planning.reading`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from swiftprof.analysis.document import Description, Table, samples_text
from swiftprof.analysis.layer_sets import Measured, answer_with
from swiftprof.analysis.numbers import percent
from swiftprof.analysis.sampling import Progress
from swiftprof.core.stages import BASE_LAYER
from swiftprof.data.base import Dataset
from swiftprof.models.loading import VLM
from swiftprof.planning.budget import smallest_retain
from swiftprof.planning.curve import combine
from swiftprof.planning.fill import Cost, Setting, fill_plan
from swiftprof.planning.plan_file import Plan
from swiftprof.planning.reading import Reading
from swiftprof.profiling.api import profile as make_profile
from swiftprof.profiling.store import Profile

DONE = 0.98
"""Where so much of the score is left, all is said to have been read."""
REPLICATES = 1000


class Data(BaseModel):
    """What was measured.

    Attributes:
        layers: the layers after which the tokens left.
        left: score left, relative to the unpruned model, mean over data sets; `low` and `high` its
            95 % interval, `per_dataset` the same of each.
        shares: V of the capabilities, rising.
        capability: layer -> x at each V.
        capability_samples: data set -> samples of the capabilities that this run added.
    """

    model_config = ConfigDict(frozen=True)

    num_layers: int
    datasets: dict[str, int]
    layers: list[int]
    left: list[float]
    low: list[float]
    high: list[float]
    per_dataset: dict[str, list[float]]
    shares: list[float]
    capability: dict[int, list[float]]
    skipped: dict[str, int] = {}

    @model_validator(mode="after")
    def _fits(self) -> Data:
        lines = (self.left, self.low, self.high, *self.per_dataset.values())
        if any(len(each) != len(self.layers) for each in lines):
            raise ValueError("layers, left, low, high and per_dataset differ in length")
        expected = range(BASE_LAYER, self.num_layers)
        if not self.layers or len(self.layers) != len(expected) or self.layers != [*expected]:
            raise ValueError(f"layers must be {BASE_LAYER} to num_layers - 1")
        if any(len(each) != len(self.shares) for each in self.capability.values()):
            raise ValueError("capability must have one number for each of shares")
        if any(not 0 < a < b for a, b in pairwise([*self.shares, 1.0])):
            raise ValueError("shares must rise and lie between 0 and 1")
        known = [*self.left, *(x for each in self.capability.values() for x in each)]
        if not all(math.isfinite(x) for x in known):
            raise ValueError("left and capability must be numbers")
        return self

    @property
    def reading(self) -> Reading:
        """What planning takes of it."""
        return Reading(
            self.num_layers,
            dict(zip(self.layers, self.left, strict=True)),
            tuple(self.shares),
            {layer: tuple(x) for layer, x in self.capability.items()},
        )


def measure(
    vlm: VLM,
    datasets: Sequence[Dataset],
    profile: Profile,
    cost: Cost,
    folder: Path,
    *,
    shares: Sequence[float],
    samples: int,
    seed: int = 0,
    split: str | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Data:
    """Withdraw the visual tokens after each layer, and measure capability at more V.

    Args:
        profile: gives the capability at its own V.
        folder: keeps finished answers and profiles.
        shares: other V.
        samples: of each data set.
        split: by default each set's train split, as planning must not see what is reported.
    """
    steps = len(shares) + 1

    def part(number: int) -> Progress | None:
        if progress is None:
            return None
        return lambda done, total: progress(number * total + done, steps * total)

    found = _withdrawn(vlm, datasets, cost, folder, samples, seed, split, batch_size, part(0))
    layers = [layer for (layer,) in found.scores]
    left, low, high = _intervals(found, layers)
    names = [d.name for d in datasets]
    curves = {profile.keep: profile}
    for number, share in enumerate(s for s in shares if s != profile.keep):
        curves[share] = make_profile(
            vlm,
            datasets,
            keep=share,
            samples=samples,
            seed=seed,
            split=split,
            batch_size=batch_size,
            out=folder / f"V{share:g}",
            progress=part(number + 1),
        )
    ordered = sorted(curves)
    chosen = [combine({n: curves[v].samples[n] for n in names}) for v in ordered]
    return Data(
        num_layers=vlm.num_layers,
        datasets={name: len(each) for name, each in found.vanilla.items()},
        layers=layers,
        left=left,
        low=low,
        high=high,
        per_dataset={
            name: [_ratio(found, name, layer) for layer in layers] for name in found.vanilla
        },
        shares=ordered,
        capability={
            layer: [round(float(x[place]), 6) for x in chosen]
            for place, layer in enumerate(profile.layers)
            if str(layer) not in profile.dropped
        },
        skipped=found.skipped,
    )


def _withdrawn(
    vlm: VLM,
    datasets: Sequence[Dataset],
    cost: Cost,
    folder: Path,
    samples: int,
    seed: int,
    split: str | None,
    batch_size: int | None,
    progress: Progress | None,
) -> Measured:
    """Scores with one visual token from each layer on: the fewest that a plan can keep."""
    depth, setting = vlm.num_layers, Setting.of("drop")
    plans: dict[tuple[int, ...], Plan] = {}
    for layer in range(BASE_LAYER, depth):
        least = smallest_retain((layer,), depth, cost.tokens, setting.method)
        plans[(layer,)] = fill_plan((layer,), least, cost, setting)
    whole = Measured({each: {} for each in plans}, {}, {})
    for number, each in enumerate(datasets):

        def report(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(number * total + done, len(datasets) * total)

        part = answer_with(
            vlm, [each], plans, folder, samples, seed, split or each.train_split, batch_size, report
        )
        for layers, found in part.scores.items():
            whole.scores[layers].update(found)
        whole.vanilla.update(part.vanilla)
        whole.skipped.update(part.skipped)
    return whole


def _ratio(found: Measured, name: str, layer: int) -> float:
    value = found.scores[(layer,)][name].mean() / max(float(found.vanilla[name].mean()), 1e-12)
    return round(float(value), 6)


def _intervals(found: Measured, layers: Sequence[int]) -> tuple[list[float], ...]:
    """Score left by layer, and its 95 % interval over samples."""
    generator = np.random.default_rng(0)
    drawn = np.zeros((REPLICATES, len(layers)))
    for name, vanilla in found.vanilla.items():
        scores = np.stack([found.scores[(layer,)][name] for layer in layers])
        for number in range(REPLICATES):
            again = generator.integers(0, len(vanilla), len(vanilla))
            drawn[number] += scores[:, again].mean(1) / max(float(vanilla[again].mean()), 1e-12)
    low, high = np.quantile(drawn / len(found.vanilla), [0.025, 0.975], axis=0)
    left = [found.relative((layer,)) for layer in layers]
    return tuple(np.round(each, 6).tolist() for each in (left, low, high))


def describe(data: Data) -> Description:
    """Where the picture is read, in words."""
    read = data.reading.read
    parts = np.diff(read)
    first = next((t for t in range(1, data.num_layers) if read[t] >= DONE), None)
    most = sorted(range(1, len(parts)), key=lambda place: -parts[place])[:3]
    findings = [
        f"{percent(read[BASE_LAYER])} of the score needs no visual token behind layer "
        f"{BASE_LAYER}."
        + (
            ""
            if first is None
            else f" By layer {first} {percent(read[first])} has been read: pruning behind it "
            "costs next to nothing."
        ),
        "Most is read in "
        + ", ".join(
            f"layer {place + 1} ({percent(float(parts[place]))})"
            for place in sorted(most)
            if parts[place] > 0
        )
        + ".",
    ]
    drops = [
        (a, b)
        for a, b, x, y in zip(
            data.layers, data.layers[1:], data.high[1:], data.low[:-1], strict=False
        )
        if x < y
    ]
    if drops:
        findings.append(
            "Leaving later can be worse than leaving earlier: "
            + ", ".join(f"after layer {b} than after {a}" for a, b in drops)
            + " (intervals apart); a picture that is half read confuses."
        )
    names = list(data.per_dataset)
    rows = tuple(
        (
            str(layer),
            *(f"{data.per_dataset[name][place]:.3f}" for name in names),
            f"{data.left[place]:.3f}",
            f"{data.low[place]:.3f}–{data.high[place]:.3f}",
            f"{read[layer]:.3f}",
        )
        for place, layer in enumerate(data.layers)
    )
    table = Table(
        title="Score left when the visual tokens leave after a layer",
        columns=("layer", *names, "all data sets", "95 % interval", "read so far"),
        rows=rows,
        note="One token stays, as a prompt without any is another prompt. read so far: the least "
        "from this layer on, as what is half read can be worse than nothing.",
    )
    known = Table(
        title="Capability x at each V",
        columns=("layer", *(percent(share) for share in data.shares)),
        rows=tuple(
            (str(layer), *(f"{x:.3f}" for x in values)) for layer, values in data.capability.items()
        ),
    )
    return Description(
        f"Greedy answers to {samples_text(data.datasets)} of the training split with one visual "
        "token from each layer on, relative to the unpruned model. Capability at V as in a "
        "profile. Intervals: bootstrap over samples.",
        tuple(findings),
        (table, known),
    )
