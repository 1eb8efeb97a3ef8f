"""`swiftprof eval`: methods side by side on the same samples."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    BatchSizeOpt,
    BudgetOpt,
    DataRootOpt,
    DatasetsOpt,
    JsonOpt,
    LoadOptions,
    PromptStyleOpt,
    SeedOpt,
    batch_size,
    grouped,
    numbers,
    split_list,
)
from swiftprof.cli.output import Output
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.evaluation.specs import Planner, Spec, TargetText
    from swiftprof.models.loading import VLM
    from swiftprof.profiling.store import Profile

METHODS = "vanilla,fastv,visionzip,pdrop,sparsevlm,feather,swiftvlm"
RATIOS = "1/3,2/9"
SAMPLES, BUNDLED_SAMPLES = 1000, 250

EXAMPLES = (
    "swiftprof eval",
    "swiftprof eval --methods vanilla,fastv,pdrop,swiftvlm --retain 192,128 --model llava-1.5-7b",
    "swiftprof eval --ablation --ratio 1/3,2/9",
    "swiftprof eval --methods swiftvlm,swiftvlm:seeds=even,swiftvlm:merge=0.1,drop@equal",
    "swiftprof eval --plan profiles/llava-1.5-7b-published/plan.json --datasets refcoco,textvqa",
    "swiftprof eval --methods my/plan.json,vanilla --samples 50 --json",
)


@grouped()
def evaluate(
    load: LoadOptions,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Methods with commas: NAME, NAME@LAYERS, NAME:option=value, or a plan.json.",
            show_default=METHODS,
        ),
    ] = None,
    ablation: Annotated[
        bool,
        typer.Option(
            "--ablation",
            help="Progressive dropping, + planned layers, + merging, + bypass (paper Table 3).",
        ),
    ] = False,
    retain: Annotated[
        str | None,
        typer.Option("--retain", help="Visual tokens to retain on average; several with commas."),
    ] = None,
    ratio: Annotated[
        str | None,
        typer.Option(
            "--ratio",
            help="The same as fractions of the prompt's visual tokens, as 1/3.",
            show_default=RATIOS,
        ),
    ] = None,
    flops: Annotated[
        str | None, typer.Option("--flops", help="TFLOPs that the prefill may cost, instead.")
    ] = None,
    datasets: DatasetsOpt = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            "--limit",
            min=1,
            help="Samples of each set, drawn once for all methods.",
            show_default=f"{SAMPLES}, or all of a smaller set; {BUNDLED_SAMPLES} of a bundled set",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split to score.", show_default="the usual one to report"),
    ] = None,
    data_root: DataRootOpt = None,
    prompt_style: PromptStyleOpt = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile", help="Profile that chooses layers.", show_default="the model's newest"
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="Take the layers of this plan instead of a profile's."),
    ] = None,
    budget: BudgetOpt = 3,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="The method that the others are tested against.",
            show_default="swiftvlm, or the first",
        ),
    ] = None,
    seed: SeedOpt = 0,
    size: BatchSizeOpt = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write.", show_default="evals/<model>-<settings>"),
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Compare pruning methods at equal numbers of visual tokens, on the same samples.

    Every method gets the same budget: the average over layers of the visual tokens that enter each
    layer. Writes the answers as parquet parts, then results.json and results.md. After an
    interruption the same command goes on where it stopped.
    """
    output = Output(json)
    from swiftprof.data.registry import BUNDLED, get_datasets
    from swiftprof.evaluation.specs import ABLATION, parse_spec

    if ablation and methods is not None:
        raise SwiftprofError("--ablation: names its own methods; leave --methods out")
    specs = [
        parse_spec(each) for each in (ABLATION if ablation else split_list(methods or METHODS))
    ]
    if not specs:
        raise SwiftprofError(f"--methods: no name given, as in {METHODS}")
    labels = [spec.text for spec in specs]
    if reference is not None and reference not in labels:
        raise SwiftprofError(f"--reference {reference}: is not one of {', '.join(labels)}")
    targets = _targets(retain, ratio, flops, specs)
    names = split_list(datasets) if datasets is not None else list(BUNDLED)
    sets = get_datasets(names, data_root)
    if not sets:
        raise SwiftprofError("--datasets: no name given; see swiftprof datasets")
    for each in sets:
        each.check_split(split or each.eval_split)
    bundled = {each.name for each in sets} <= set(BUNDLED)
    rows = batch_size(size)
    from swiftprof.cli.loading import load_model

    found, layers = _layers(profile, plan, load.model)
    vlm = load_model(output, load, prompt_style)
    planner = _planner(vlm, found, layers, budget)
    variants = planner.variants(specs, targets)
    from swiftprof.evaluation.api import evaluate as measure

    with output.progress(f"evaluating {len(variants)} variants of {vlm.name}") as step:
        done = measure(
            vlm,
            variants,
            sets,
            samples=samples or (BUNDLED_SAMPLES if bundled else SAMPLES),
            seed=seed,
            split=split,
            batch_size=rows,
            out=out,
            reference=reference,
            command=_command(),
            progress=step,
            note=output.note,
        )
    output.document({"path": str(done.path), **done.results})
    if not json:
        from swiftprof.cli.show_eval import show_eval

        show_eval(output, done.results)
        output.print(f"\nWrote {done.path}/results.md, results.json and the answers in parts/.")
    from swiftprof.cli.show_skipped import show_skipped

    used = done.results["samples"]
    raise typer.Exit(show_skipped(output, done.skipped, used, str(done.path / "results.json")))


def _targets(
    retain: str | None, ratio: str | None, flops: str | None, specs: list[Spec]
) -> list[TargetText]:
    from swiftprof.evaluation.specs import TargetText
    from swiftprof.planning.fill import Target

    given = {"retain": retain, "ratio": ratio, "flops": flops}
    set_ = {name: text for name, text in given.items() if text is not None}
    if len(set_) > 1:
        raise SwiftprofError(f"{' and '.join('--' + n for n in set_)}: give only one of them")
    if not set_ and all(s.path is not None or s.method == "vanilla" for s in specs):
        return []
    (name, text), *_ = (set_ or {"ratio": RATIOS}).items()
    values = numbers(f"--{name}", text)
    if not values:
        raise SwiftprofError(f"--{name}: no number given, as in 192,128")
    title = {"retain": "{} tokens", "ratio": "{} of the tokens", "flops": "{} TFLOPs"}[name]
    return [
        TargetText(title.format(part), Target(**{name: value}))
        for part, value in zip(split_list(text), values, strict=True)
    ]


def _layers(
    profile: Path | None, plan: Path | None, model: str | None
) -> tuple[Profile | None, tuple[int, ...] | None]:
    """A profile or layers to prune at; neither where only methods with layers of their own run."""
    from swiftprof.models.registry import BUNDLED_MODEL, find_model
    from swiftprof.planning.plan_file import Plan
    from swiftprof.profiling.store import Profile, find_newest

    if profile is not None and plan is not None:
        raise SwiftprofError("--profile and --plan: give only one of them")
    if plan is not None:
        return None, Plan.load(plan).pruning_layers
    if profile is not None:
        return Profile.load(profile), None
    try:
        newest = find_newest(model=find_model(model or BUNDLED_MODEL).name)
    except SwiftprofError:
        return None, None
    return newest, None


def _planner(
    vlm: VLM, profile: Profile | None, layers: tuple[int, ...] | None, budget: int
) -> Planner:
    from swiftprof.evaluation.specs import Planner
    from swiftprof.planning.fill import Cost
    from swiftprof.profiling.job import model_info

    if profile is not None and profile.model.num_layers != vlm.num_layers:
        raise SwiftprofError(
            f"{profile.path}: is a profile of {profile.model.name} with {profile.model.num_layers} "
            f"layers, but {vlm.name} has {vlm.num_layers}; name another with --profile"
        )
    text: Any = profile.text_tokens if profile is not None else 0.0
    return Planner(Cost(model_info(vlm), vlm.decoder_shape, text), profile, layers, budget)


def _command() -> str:
    return shlex.join(["swiftprof", *sys.argv[1:]]) if len(sys.argv) > 1 else ""
