"""What each analysis does once its options are read: load, measure, describe."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
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
    from swiftprof.evaluation.settings import VariantSettings
    from swiftprof.evaluation.specs import Planner, TargetText
    from swiftprof.models.loading import VLM
    from swiftprof.planning.fill import Cost
    from swiftprof.planning.plan_file import Plan
    from swiftprof.profiling.store import Profile

__all__ = ["FOLDER", "RUNS", "Request"]

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
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
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


def run_ranks(request: Request) -> Document:
    from swiftprof.analysis.ranks import measure

    began, sampling = time.monotonic(), request.sampling
    with request.output.progress("ranking tokens") as step:
        data = measure(sampling, request.found_profile, step)
    return request.finish(data, began, datasets=data.datasets)


def run_curve(request: Request) -> Document:
    from swiftprof.analysis.curve import measure
    from swiftprof.planning.curve import Curve, combine
    from swiftprof.planning.program import solve

    began, profile = time.monotonic(), request.needed_profile
    curve = Curve(profile.model.num_layers, profile.layers, combine(profile.samples))
    data = measure(profile, solve(curve, request.budget).layers)
    return request.finish(data, began, datasets=dict(profile.summary.samples))


def run_stability(request: Request) -> Document:
    from swiftprof.analysis.stability import measure

    began, profile = time.monotonic(), request.needed_profile
    data = measure(
        profile, request.budget, replicates=request.option("bootstrap"), seed=request.seed
    )
    return request.finish(data, began, datasets=data.datasets)


def run_alignment(request: Request) -> Document:
    from swiftprof.analysis.alignment import measure
    from swiftprof.analysis.project import PROJECTIONS
    from swiftprof.cli.options import numbers
    from swiftprof.cli.plan import quietly
    from swiftprof.planning.api import plan

    projection = request.option("projection")
    if projection not in PROJECTIONS:
        raise SwiftprofError(f"--projection {projection}: must be one of {', '.join(PROJECTIONS)}")
    shares = numbers("--merge", request.option("merge"))
    if not shares or not all(0 < share < 1 for share in shares):
        raise SwiftprofError(
            f"--merge {request.option('merge')}: must be fractions of the visual tokens above 0"
        )
    began, profile, target = time.monotonic(), request.needed_profile, request.target.target
    plans = {
        share: quietly(
            plan, profile, request.budget, **vars(target), bootstrap=0, merge_share=share
        )
        for share in shares
    }
    sampling = request.sampling
    with request.output.progress("following tokens") as step:
        data = measure(sampling, plans, projection=projection, progress=step)
    first = next(iter(plans.values()))
    return request.finish(data, began, datasets=data.datasets, plan=first.to_dict())


def run_overlap(request: Request) -> Document:
    from swiftprof.analysis.overlap import measure

    began, plans = time.monotonic(), request.plans(request.option("methods"))
    reference = _reference(plans)
    sampling = request.sampling
    with request.output.progress("comparing selections") as step:
        data = measure(sampling, plans, reference, step)
    plan = plans[reference].to_dict()
    return request.finish(data, began, datasets=data.datasets, plan=plan)


def run_pictures(request: Request) -> Document:
    from swiftprof.analysis.pictures import PICKS, measure

    pick = request.option("pick")
    if pick not in PICKS:
        raise SwiftprofError(f"--pick {pick}: must be one of {', '.join(PICKS)}")
    began, plans = time.monotonic(), request.plans(request.option("methods"))
    with request.output.progress("answering") as step:
        data = measure(
            request.vlm,
            request.chosen,
            plans,
            _reference(plans),
            samples=request.samples,
            show=request.option("show"),
            pick=pick,
            seed=request.seed,
            split=request.split,
            batch_size=request.batch,
            progress=step,
        )
    return request.finish(data, began, datasets=data.datasets)


def run_plans(request: Request) -> Document:
    from swiftprof.analysis.plans import measure
    from swiftprof.cli.plan import quietly
    from swiftprof.planning.api import plan as make
    from swiftprof.planning.curve import Curve, combine
    from swiftprof.planning.fill import Setting

    began, profile = time.monotonic(), request.needed_profile
    sets = request.option("sets")
    if sets != "all" and not (sets.isascii() and sets.isdecimal() and int(sets) > 0):
        raise SwiftprofError(f"--sets {sets}: must be a number above 0, or all")
    target = request.target.target
    method = request.option("method")
    setting = Setting.of(method)
    if not setting.method.planned:
        raise SwiftprofError(
            f"--method {method}: prunes at its own layers; name one that is planned, as swiftvlm"
        )
    plan = quietly(make, profile, request.budget, **vars(target), method=method, bootstrap=0)
    curve = Curve(profile.model.num_layers, profile.layers, combine(profile.samples))
    with request.output.progress("answering with each layer set") as step:
        data = measure(
            request.vlm,
            request.chosen,
            plan,
            curve,
            request.cost,
            setting,
            request.out / "plans-answers",
            sets=None if sets == "all" else int(sets),
            samples=request.samples,
            seed=request.seed,
            split=request.split,
            batch_size=request.batch,
            progress=step,
        )
    return request.finish(data, began, datasets=data.datasets, plan=plan.to_dict())


def run_pareto(request: Request) -> Document:
    from swiftprof.analysis.pareto import read, variants
    from swiftprof.cli.options import split_list
    from swiftprof.evaluation.specs import parse_spec

    began, folder = time.monotonic(), request.option("evaluation")
    if folder is not None:
        from swiftprof.report.read_eval import read_results

        results = read_results(folder)
        data = read(results)
        settings = results["settings"]
        return request.finish(
            data,
            began,
            model=settings["model"]["name"],
            datasets=data.datasets,
            seed=settings["seed"],
            evaluation=str(folder),
        )
    specs = [parse_spec(each) for each in split_list(request.option("methods"))]
    wanted, impossible = variants(request.planner, specs, request.targets)
    from swiftprof.evaluation.api import evaluate

    for reason in impossible:
        request.output.warn(f"left out: {reason}")
    with request.output.progress(f"evaluating {len(wanted)} variants") as step:
        done = evaluate(
            request.vlm,
            wanted,
            request.chosen,
            samples=request.samples,
            seed=request.seed,
            split=request.split,
            batch_size=request.batch,
            out=request.out / "pareto-answers" / _digest(request, wanted),
            command=command(),
            progress=step,
        )
    data = read(done.results, impossible)
    return request.finish(data, began, datasets=data.datasets, evaluation=str(done.path))


RUNS: Mapping[str, Callable[[Request], Document]] = {
    "ranks": run_ranks,
    "curve": run_curve,
    "stability": run_stability,
    "alignment": run_alignment,
    "overlap": run_overlap,
    "pictures": run_pictures,
    "plans": run_plans,
    "pareto": run_pareto,
}
"""Analysis -> what runs it."""


def command() -> str:
    """What was typed, where a command was."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    typed = name in ("swiftprof", "swiftprof.exe", "__main__.py") and len(sys.argv) > 1
    return shlex.join(["swiftprof", *sys.argv[1:]]) if typed else ""


def _digest(request: Request, wanted: Sequence[VariantSettings]) -> str:
    """Short name of a comparison, so that another one does not get in its way."""
    chosen = (request.samples, request.seed, request.split, [d.name for d in request.chosen])
    text = json.dumps([*chosen, *(each.model_dump(mode="json") for each in wanted)])
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _reference(labels: Sequence[str] | Mapping[str, Any]) -> str:
    """SwiftVLM where it is there, else the last: the method that the others are compared with."""
    names = list(labels)
    return next((n for n in names if n.split(":")[0].split("@")[0] == "swiftvlm"), names[-1])


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from swiftprof import __version__

    found = {name: version(name) for name in ("torch", "transformers")}
    return {"swiftprof": __version__, **found, "python": platform.python_version()}
