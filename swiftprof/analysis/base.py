"""What every analysis has: options, a run, and data that describe and draw themselves."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from swiftprof.analysis.document import Data, Document
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.tiny import bundled_profiles

if TYPE_CHECKING:
    from swiftprof.data.base import Dataset
    from swiftprof.evaluation.api import Evaluation
    from swiftprof.evaluation.settings import VariantSettings
    from swiftprof.evaluation.specs import Planner, TargetText
    from swiftprof.models.loading import VLM
    from swiftprof.profiling.store import Profile

Progress = Callable[[int, int], None]
"""Called with (done, total)."""
SamplesOpt = Annotated[
    int, typer.Option("--samples", "--limit", min=1, help="Samples of each data set.")
]
MethodsOpt = Annotated[
    str, typer.Option("--methods", help="Methods to compare, as for swiftprof eval.")
]
BudgetOpt = Annotated[int, typer.Option("--budget", help="Pruning layers, at most.")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random draw.")]


def _silent(label: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


@dataclass
class Subject:
    """What analyses look at: a model, its data and its profile, found when they are asked for.

    Attributes:
        load: loads the model.
        find: finds the data sets.
        folder: where answers are kept, so that an interrupted analysis goes on.
        progress: label -> a context with a function that is told how far the work is.
    """

    profile: Profile | None
    load: Callable[[], VLM]
    find: Callable[[], Sequence[Dataset]]
    folder: Path
    progress: Callable[[str], AbstractContextManager[Progress]] = _silent

    @cached_property
    def vlm(self) -> VLM:
        return self.load()

    @cached_property
    def datasets(self) -> Sequence[Dataset]:
        return self.find()

    @property
    def needed_profile(self) -> Profile:
        """The profile. Raises SwiftprofError where there is none."""
        if self.profile is None:
            raise SwiftprofError(
                "this analysis needs a profile, and there is none under profiles/; make one with "
                "swiftprof profile, or name its folder with `profile`"
            )
        return self.profile

    def planner(self, budget: int) -> Planner:
        """Makes plans with so many pruning layers."""
        from swiftprof.evaluation.specs import Planner
        from swiftprof.planning.fill import Cost

        profile, vlm = self.needed_profile, self.vlm
        cost = Cost(vlm.info, vlm.decoder_shape, profile.text_tokens)
        return Planner(cost, profile, None, budget)


@dataclass(frozen=True)
class Analysis:
    """The options of an analysis are the fields of its class; what it finds is a `Data`.

    Attributes:
        title: of the figure and of its section in a report.
        needs: what it works from.
        examples: commands.
        runs: loads a model.
    """

    title: ClassVar[str]
    needs: ClassVar[str] = "a profile"
    examples: ClassVar[tuple[str, ...]] = ()
    runs: ClassVar[bool] = False
    data: ClassVar[type[Data]]

    @classmethod
    def name(cls) -> str:
        """As it is typed."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def question(cls) -> str:
        """The first line of its docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    def run(self, subject: Subject) -> Data:
        """Measure. Raises SwiftprofError, before anything slow starts, where an option is wrong."""
        raise NotImplementedError

    def document(self, subject: Subject) -> Document:
        """Measure, and say where the numbers are from."""
        from swiftprof.runs.settings import versions

        began = time.monotonic()
        data = self.run(subject)
        vlm = subject.__dict__.get("vlm") if self.runs else None  # where it was asked for
        profile = subject.profile
        seconds = time.monotonic() - began  # a resumed run counts its own part only
        origin = {
            "model": vlm.name if vlm else profile.model.name if profile else "",
            "seed": str(getattr(self, "seed", "")),
            "profile": f"{called(profile)}, sha256 {profile.sha256[:12]}" if profile else "",
            "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
            "made": f"{datetime.now(UTC).isoformat(timespec='seconds')} in {seconds:.0f} s",
        }
        if vlm is not None:
            split = getattr(self, "split", None)
            used = (vlm.model.dtype, vlm.model.config._attn_implementation, vlm.model.device)
            origin |= {
                "arithmetic": ", ".join(str(each).removeprefix("torch.") for each in used),
                "splits": ", ".join(f"{d.name} {split or d.eval_split}" for d in subject.datasets),
            }
        return Document.of(self.name(), self.title, data, origin, command())


@dataclass(frozen=True)
class OnSamples(Analysis):
    """An analysis that runs the model on samples."""

    needs: ClassVar[str] = "a model"
    runs: ClassVar[bool] = True

    samples: SamplesOpt = 50
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split to run on.", show_default="the usual one to report"),
    ] = None
    seed: SeedOpt = 0
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Samples that run together.", show_default="auto"),
    ] = None

    def answers(self, subject: Subject, variants: Sequence[VariantSettings]) -> Evaluation:
        """Greedy answers of the unpruned model and of the variants to the same samples. They are
        kept: what another run, or another analysis, has asked is not asked again."""
        from swiftprof.evaluation.api import evaluate
        from swiftprof.runs.settings import digest

        vlm, sets = subject.vlm, [d.name for d in subject.datasets]
        asked = {"model": vlm.name, "sets": sets, "seed": self.seed, "split": self.split}
        with subject.progress(f"answering in {len(variants)} ways") as step:
            return evaluate(
                vlm,
                variants,
                list(subject.datasets),
                samples=self.samples,
                seed=self.seed,
                split=self.split,
                batch_size=self.batch_size,
                out=subject.folder / "answers" / digest(asked),
                command=command(),
                progress=step,
            )


@dataclass(frozen=True)
class AtBudget(OnSamples):
    """An analysis of plans at a token budget; a third of the visual tokens by default."""

    needs: ClassVar[str] = "a model and a profile"

    budget: BudgetOpt = 3
    ratio: Annotated[
        str | None,
        typer.Option(
            "--ratio", help="Visual tokens to retain, as a fraction of all.", show_default="1/3"
        ),
    ] = None
    retain: Annotated[
        str | None, typer.Option("--retain", help="The same as a number of tokens.")
    ] = None

    def targets(self, usual: str = "1/3") -> list[TargetText]:
        """The token budgets. Raises SwiftprofError where they are no numbers."""
        from swiftprof.evaluation.specs import target_text

        if self.ratio is not None and self.retain is not None:
            raise BadParameter("ratio and retain", None, "give only one of them")
        name, text = ("retain", self.retain) if self.retain else ("ratio", self.ratio or usual)
        try:
            return [target_text(name, each, float(Fraction(each))) for each in names(text)]
        except (ValueError, ZeroDivisionError):
            raise BadParameter(name, text[:60], "must be numbers, as 1/3 or 48") from None


def called(profile: Profile) -> str:
    """A profile's folder, or the name of one that comes with the package."""
    bundled = profile.path in bundled_profiles().values()
    return profile.path.name if bundled else str(profile.path)


def names(text: str) -> list[str]:
    """`"a, b"` as `["a", "b"]`, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def command() -> str:
    """What was typed, where a command was."""
    typed = bool(sys.argv) and Path(sys.argv[0]).stem in ("swiftprof", "__main__")
    return shlex.join(["swiftprof", *sys.argv[1:]]) if typed else ""
