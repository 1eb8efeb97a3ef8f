"""What one profile consists of: settings, drawn samples, and the units that the work is cut into.

A unit is a chunk of one data set's drawn samples and becomes one parquet part. Which samples it
holds depends on the settings alone, never on who measures it, so units may be handed to any number
of processes on any number of machines, in any order, and be measured again after a failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swiftprof.data.base import Dataset
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, get_datasets
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.models.loading import VLM
from swiftprof.planning.plan_file import ModelInfo
from swiftprof.profiling.parts import chunks
from swiftprof.profiling.settings import SET_NAME, Score, Settings
from swiftprof.profiling.store import RunFile

SAMPLES = 1000
"""Samples a data set, as in the paper."""
FIRST_CANDIDATE = 2
"""x_2 is the base of the plan; layer 1 is recorded but not re-run."""


@dataclass(frozen=True)
class Request:
    """What is asked for; see `swiftprof.profiling.api.profile` for the meaning of each field."""

    datasets: tuple[str | Dataset, ...]
    keep: float = 0.2
    samples: int | None = None
    seed: int = 0
    split: str | None = None
    data_root: str | Path | None = None
    score: Score = "generation"
    race: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise SwiftprofError(
                f"V (keep) is {self.keep:g}: it must lie in (0, 1], 0.2 keeps a fifth"
            )
        if not self.datasets:
            raise SwiftprofError("no data set named: give at least one, see swiftprof datasets")
        if self.score not in ("generation", "nll"):
            raise BadParameter("score", self.score, "must be generation or nll")
        if self.race is not None and not 0 < self.race < 1:
            raise BadParameter(
                "race_risk", self.race, "must lie between 0 and 1; 0.01 is a small risk"
            )

    def sets(self) -> list[Dataset]:
        """The data sets."""
        root = None if self.data_root is None else Path(self.data_root)
        return get_datasets(self.datasets, root)

    def split_of(self, dataset: Dataset) -> str:
        """The split that a set's samples are drawn from."""
        return self.split or dataset.train_split


@dataclass(frozen=True)
class Unit:
    """One part of the work.

    Attributes:
        dataset: name of the data set.
        number: which chunk of its drawn samples.
        indices: the samples, in order.
        layers: whose selections are re-run; None is all candidates of the settings.
    """

    dataset: str
    number: int
    indices: tuple[int, ...] = field(repr=False)
    layers: tuple[int, ...] | None = field(default=None, repr=False)


def prepare(vlm: VLM, request: Request) -> RunFile:
    """Draw the samples and write down everything that decides the result.

    Raises:
        SwiftprofError: a data set or split that does not exist.
    """
    sets = request.sets()
    for each in sets:
        if not SET_NAME.fullmatch(each.name):
            raise SwiftprofError(
                f"data set {each.name[:80]!r}: its name becomes a file's name, so it may only hold "
                "letters, digits and . _ + -"
            )
    at_most = request.samples is None
    samples = SAMPLES if request.samples is None else request.samples
    drawn = {
        d.name: draw(d, request.split_of(d), samples, request.seed, at_most=at_most) for d in sets
    }
    protocol = {d.name: d.protocol(vlm.conventions, request.score) for d in sets}
    usual = request.split or Dataset.train_split
    sources = {d.name: d.source(request.split_of(d)) for d in sets}
    settings = Settings(
        model=model_info(vlm),
        datasets=tuple(d.name for d in sets),
        split=usual,
        samples=samples,
        keep=request.keep,
        seed=request.seed,
        layers=tuple(range(FIRST_CANDIDATE, vlm.num_layers + 1)),
        dtype=str(vlm.model.dtype).removeprefix("torch."),
        attention=str(vlm.model.config._attn_implementation),
        score=request.score,
        splits={d.name: s for d in sets if (s := request.split_of(d)) != usual},
        protocol={name: line for name, line in protocol.items() if name not in BUNDLED},
        sources={name: source for name, source in sources.items() if source},
        loading=vlm.loading,
        race=request.race,
    )
    return RunFile(settings=settings, draw=drawn, decoder=vlm.decoder_shape, protocol=protocol)


def units(draw: Mapping[str, Sequence[int]], order: Sequence[str]) -> list[Unit]:
    """All units of a run, data set by data set."""
    return [
        Unit(name, number, indices)
        for name in order
        for number, indices in enumerate(chunks(draw[name]))
    ]


def model_info(vlm: VLM) -> ModelInfo:
    """What files say of a model."""
    return ModelInfo(
        name=vlm.name,
        id=vlm.source.id,
        revision=vlm.source.revision,
        num_layers=vlm.num_layers,
        visual_tokens=vlm.visual_tokens,
    )
