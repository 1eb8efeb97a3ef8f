"""The options of one analysis, and what they lead to: profile, model, samples, plans."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftprof.cli.output import Output
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from swiftprof.analysis.document import Document
    from swiftprof.analysis.sampling import Sampling
    from swiftprof.cli.options import LoadOptions
    from swiftprof.data.base import Dataset
    from swiftprof.evaluation.specs import Planner, TargetText
    from swiftprof.models.loading import VLM
    from swiftprof.planning.fill import Cost
    from swiftprof.planning.plan_file import Plan
    from swiftprof.profiling.store import Profile

FOLDER = Path("analyses")
"""Where analyses are written by default, relative to the working directory."""
RATIO = "1/3"


@dataclass(frozen=True)
class Request:
    """The options of one analysis, and what they lead to.

    Attributes:
        samples: of each data set.
        ratio, retain: the token budget as it was typed; a third by default.
        more: options of one analysis alone.
        loaded: the model, where an analysis before has loaded it.
    """

    output: Output
    name: str
    out: Path
    load: LoadOptions
    profile: Path | None = None
    budget: int = 3
    ratio: str | None = None
    retain: str | None = None
    datasets: str | None = None
    data_root: Path | None = None
    samples: int = 50
    split: str | None = None
    seed: int = 0
    batch: int | None = None
    more: Mapping[str, Any] | None = None
    loaded: VLM | None = None

    def option(self, name: str) -> Any:
        """An option of this analysis alone."""
        return (self.more or {})[name]

    @cached_property
    def found_profile(self) -> Profile | None:
        """The profile that was named, or the model's newest; None where there is none."""
        from swiftprof.models.registry import BUNDLED_MODEL, find_model
        from swiftprof.profiling.store import Profile, find_newest

        if self.profile is not None:
            return Profile.load(self.profile)
        try:
            wanted = find_model(self.load.model or BUNDLED_MODEL).name
            return find_newest(model=wanted)
        except SwiftprofError:
            return None

    @property
    def needed_profile(self) -> Profile:
        """The same. Raises SwiftprofError where there is none."""
        found = self.found_profile
        if found is None:
            raise SwiftprofError(
                f"analyze {self.name}: needs a profile, and there is none under profiles/; make "
                "one with swiftprof profile, or name its folder with --profile"
            )
        return found

    @cached_property
    def chosen(self) -> list[Dataset]:
        """The data sets: those named, the profile's, or the bundled ones."""
        from swiftprof.cli.options import split_list
        from swiftprof.data.registry import BUNDLED, get_datasets

        names = split_list(self.datasets) if self.datasets is not None else None
        if names == []:
            raise SwiftprofError("--datasets: no name given; see swiftprof datasets")
        profile = self.found_profile
        wanted = names or (list(profile.datasets) if profile is not None else list(BUNDLED))
        found = get_datasets(wanted, self.data_root)
        for each in found:
            each.check_split(self.split or each.eval_split)
        return found

    @property
    def vlm(self) -> VLM:
        """The model; the profile's where none is named."""
        if self.loaded is None:
            object.__setattr__(self, "loaded", self._load())
        assert self.loaded is not None
        return self.loaded

    def _load(self) -> VLM:
        from swiftprof.cli.loading import load_model

        profile, options = self.found_profile, self.load
        if options.model is None and profile is not None:
            from swiftprof.models.registry import ALIASES

            model = profile.model
            name = model.name if model.name in ALIASES else model.id or model.name
            options = replace(options, model=name)
        vlm = load_model(self.output, options)
        if profile is not None and profile.model.num_layers != vlm.num_layers:
            raise SwiftprofError(
                f"{profile.path}: is a profile of {profile.model.name} with "
                f"{profile.model.num_layers} layers, but {vlm.name} has {vlm.num_layers}; name "
                "another with --profile"
            )
        return vlm

    @cached_property
    def sampling(self) -> Sampling:
        from swiftprof.analysis.sampling import Sampling

        return Sampling(self.vlm, self.chosen, self.samples, self.seed, self.split, self.batch)

    @property
    def planner(self) -> Planner:
        from swiftprof.evaluation.specs import Planner

        return Planner(self.cost, self.needed_profile, None, self.budget)

    @property
    def cost(self) -> Cost:
        from swiftprof.planning.fill import Cost
        from swiftprof.profiling.job import model_info

        text = self.needed_profile.text_tokens
        return Cost(model_info(self.vlm), self.vlm.decoder_shape, text)

    @property
    def targets(self) -> list[TargetText]:
        """The token budgets."""
        from swiftprof.cli.options import numbers, split_list
        from swiftprof.evaluation.specs import TargetText
        from swiftprof.planning.fill import Target

        if self.ratio is not None and self.retain is not None:
            raise SwiftprofError("--ratio and --retain: give only one of them")
        name, text = ("retain", self.retain) if self.retain else ("ratio", self.ratio or RATIO)
        title = {"retain": "{} tokens", "ratio": "{} of the tokens"}[name]
        found = [
            TargetText(title.format(part), Target(**{name: value}))
            for part, value in zip(split_list(text), numbers(f"--{name}", text), strict=True)
        ]
        if not found:
            raise SwiftprofError(f"--{name}: no number given, as in 1/3")
        return found

    @property
    def target(self) -> TargetText:
        """The one token budget. Raises SwiftprofError where several are given."""
        first, *others = self.targets
        if others:
            raise SwiftprofError(f"analyze {self.name}: takes one token budget at a time")
        return first

    def plans(self, methods: str) -> dict[str, Plan]:
        """Label -> plan of every method named, at the one budget."""
        from swiftprof.cli.options import split_list
        from swiftprof.evaluation.specs import parse_spec

        specs = [parse_spec(each) for each in split_list(methods)]
        made = self.planner.variants(specs, [self.target])
        found = {each.label: plan for each in made if (plan := each.load()) is not None}
        if not found:
            raise SwiftprofError("--methods: name at least one that prunes")
        return found

    def finish(self, data: BaseModel, began: float, **origin: Any) -> Document:
        """The document of what was measured."""
        from swiftprof.analysis.document import Document, Provenance

        vlm = self.loaded
        profile = self.found_profile if self.name != "pareto" or vlm is not None else None
        model = vlm.name if vlm is not None else profile.model.name if profile else ""
        made: dict[str, Any] = {
            "model": model,
            "seed": self.seed,
            "profile": str(profile.path) if profile else None,
            "profile_sha256": profile.sha256 if profile else None,
            "versions": _versions(),
            "command": command(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - began, 1),
        }
        if vlm is not None and self.name not in ("curve", "stability"):
            made |= {
                "device": str(vlm.model.device),
                "dtype": str(vlm.model.dtype).removeprefix("torch."),
                "attention": str(vlm.model.config._attn_implementation),
                "splits": {d.name: self.split or d.eval_split for d in self.chosen},
            }
        if "sampling" in self.__dict__:
            made["skipped"] = {n: len(s) for n, s in self.sampling.skipped.items() if s}
        return Document.of(self.name, data, Provenance(**{**made, **origin}))


def command() -> str:
    """What was typed, where a command was."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    typed = name in ("swiftprof", "swiftprof.exe", "__main__.py") and len(sys.argv) > 1
    return shlex.join(["swiftprof", *sys.argv[1:]]) if typed else ""


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from swiftprof import __version__

    found = {name: version(name) for name in ("torch", "transformers")}
    return {"swiftprof": __version__, **found, "python": platform.python_version()}
