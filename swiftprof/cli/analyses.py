"""What each analysis does once its options are read: load, measure, describe."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftprof.cli.analysis_request import Request, command
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.analysis.document import Document
    from swiftprof.evaluation.settings import VariantSettings
    from swiftprof.planning.reading import Reading


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


def run_reading(request: Request) -> Document:
    from swiftprof.analysis.reading import measure
    from swiftprof.cli.options import numbers

    began, profile = time.monotonic(), request.needed_profile
    shares = numbers("--shares", request.option("shares"))
    if not all(0 < share < 1 for share in shares):
        raise SwiftprofError(
            f"--shares {request.option('shares')}: each V must lie between 0 and 1, as 0.05,0.1"
        )
    with request.output.progress("answering without visual tokens from each layer on") as step:
        data = measure(
            request.vlm,
            request.chosen,
            profile,
            request.cost,
            request.out / "reading-answers",
            shares=shares,
            samples=request.samples,
            seed=request.seed,
            split=request.split,
            batch_size=request.batch,
            progress=step,
        )
    splits = {d.name: request.split or d.train_split for d in request.chosen}
    return request.finish(data, began, datasets=data.datasets, skipped=data.skipped, splits=splits)


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
    return request.finish(data, began, datasets=data.datasets, skipped=data.skipped)


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
    path = request.option("reading")
    reading = None if path is None else read_reading(path)
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
            reading=reading,
            sets=None if sets == "all" else int(sets),
            samples=request.samples,
            seed=request.seed,
            split=request.split,
            batch_size=request.batch,
            progress=step,
        )
    return request.finish(
        data, began, datasets=data.datasets, plan=plan.to_dict(), skipped=data.skipped
    )


def read_reading(path: Path) -> Reading:
    """The reading curve of an analysis. Raises SwiftprofError where it is none."""
    from swiftprof.analysis.document import Document
    from swiftprof.analysis.reading import Data

    data = Document.load(path).parsed()
    if not isinstance(data, Data):
        raise SwiftprofError(
            f"{path}: is no reading curve; make one with swiftprof analyze reading"
        )
    return data.reading


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
    skipped = {name: len(each) for name, each in done.skipped.items() if each}
    return request.finish(
        data, began, datasets=data.datasets, evaluation=str(done.path), skipped=skipped
    )


RUNS: Mapping[str, Callable[[Request], Document]] = {
    "ranks": run_ranks,
    "curve": run_curve,
    "reading": run_reading,
    "stability": run_stability,
    "alignment": run_alignment,
    "overlap": run_overlap,
    "pictures": run_pictures,
    "plans": run_plans,
    "pareto": run_pareto,
}
"""Analysis -> what runs it."""


def _digest(request: Request, wanted: Sequence[VariantSettings]) -> str:
    """Short name of a comparison, so that another one does not get in its way."""
    chosen = (request.samples, request.seed, request.split, [d.name for d in request.chosen])
    text = json.dumps([*chosen, *(each.model_dump(mode="json") for each in wanted)])
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _reference(labels: Sequence[str] | Mapping[str, Any]) -> str:
    """SwiftVLM where it is there, else the last: the method that the others are compared with."""
    names = list(labels)
    return next((n for n in names if n.split(":")[0].split("@")[0] == "swiftvlm"), names[-1])
