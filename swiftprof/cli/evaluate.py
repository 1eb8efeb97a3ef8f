"""`swiftprof eval`: methods side by side on the same samples."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftprof.cli.errors import show_skipped
from swiftprof.cli.options import (
    BatchSizeOpt,
    BudgetOpt,
    BudgetOptions,
    DataOptions,
    JsonOpt,
    LoadOptions,
    ProfileOpt,
    SeedOpt,
    complete_methods,
    count_or_auto,
    grouped,
    split_list,
)
from swiftprof.cli.output import Output, check_out
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.evaluation.api import Evaluation
    from swiftprof.evaluation.results import Results

METHODS = (
    "vanilla,fastv,pdrop,pdrop:positions=kept,sparsevlm,sparsevlm:positions=kept,feather,swiftvlm,"
    "often"
)
RATIOS = "1/3,2/9"
SAMPLES, BUNDLED_SAMPLES = 1000, 250

EXAMPLES = (
    "swiftprof eval",
    "swiftprof eval --methods vanilla,fastv,pdrop,swiftvlm --retain 192,128 --model llava-1.5-7b",
    "swiftprof eval --ablation --ratio 1/3,2/9",
    "swiftprof eval --methods swiftvlm,swiftvlm:seeds=even,swiftvlm:merge=0.1,drop@equal",
    "swiftprof eval --plan llava-1.5-7b --datasets refcoco,textvqa",
    "swiftprof eval --methods my/plan.json,vanilla --samples 50 --json",
)


@grouped()
def evaluate(
    load: LoadOptions,
    data: DataOptions,
    tokens: BudgetOptions,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods with commas: NAME, NAME@LAYERS, NAME:option=value, often (the preset of "
            "swiftprof plan), or a plan.json.",
            show_default="the peers, swiftvlm and often",
            autocompletion=complete_methods,
        ),
    ] = None,
    ablation: Annotated[
        bool,
        typer.Option(
            "--ablation",
            help="Progressive dropping, + planned layers, + merging, + bypass (paper Table 3).",
        ),
    ] = False,
    profile: ProfileOpt = None,
    plan: Annotated[
        str | None, typer.Option(help="Take the layers of this plan instead of a profile's.")
    ] = None,
    budget: BudgetOpt = 3,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The method that the others are tested against.",
            show_default="swiftvlm, or the first",
        ),
    ] = None,
    seed: SeedOpt = 0,
    size: BatchSizeOpt = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="evals/<model>-<settings>")
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Compare pruning methods at equal numbers of visual tokens, on the same samples.

    Every method gets the same budget, by default 1/3 and 2/9 of the tokens: the average over layers
    of the visual tokens that enter each layer. By default 1000 samples of each set, or all of a
    smaller one; 250 of a bundled set. Writes the answers as parquet parts, then results.json and
    results.md. After an interruption the same command goes on where it stopped.
    """
    output = Output(json)
    from swiftprof.cli.resolve import newest_profile, read_plan, read_profile, resolve
    from swiftprof.data.registry import BUNDLED
    from swiftprof.evaluation.specs import ABLATION, parse_spec

    if ablation and methods is not None:
        raise BadParameter("ablation", None, "names its own methods; leave `methods` out")
    if profile is not None and plan is not None:
        raise BadParameter("profile and plan", None, "give only one of them")
    wanted = list(ABLATION) if ablation else split_list(methods or METHODS)
    if not wanted:
        raise BadParameter("methods", None, f"no name given, as in {METHODS}")
    specs = [parse_spec(each) for each in wanted]
    labels = [spec.text for spec in specs]
    if reference is not None and reference not in labels:
        raise BadParameter("reference", reference, f"is not one of {', '.join(labels)}")
    targets = tokens.targets(RATIOS)
    check_out(out, folder=True)
    found = read_plan(plan) if plan is not None else None
    layers = found[1].pruning_layers if found is not None else None
    named = read_profile(profile) if profile is not None else None
    chosen = resolve(load, data, plan=found, profile=named)
    sets = chosen.datasets()
    for each in sets:
        each.check_split(data.split or each.eval_split)
    bundled = {each.name for each in sets} <= set(BUNDLED)
    rows = count_or_auto("batch_size", size)
    if found is None and named is None:
        named = newest_profile(chosen.source.name)
    vlm = chosen.load_model(output)
    from swiftprof.evaluation.api import evaluate as measure

    with output.progress(f"evaluating {len(specs)} methods on {vlm.name}") as step:
        done = measure(
            vlm,
            wanted,
            sets,
            targets=targets,
            profile=named,
            layers=layers,
            budget=budget,
            samples=data.samples or (BUNDLED_SAMPLES if bundled else SAMPLES),
            seed=seed,
            split=data.split,
            batch_size=rows,
            out=out,
            reference=reference,
            command=shlex.join(["swiftprof", *sys.argv[1:]]) if len(sys.argv) > 1 else "",
            progress=step,
            note=output.note,
        )
    raise typer.Exit(show_done(output, done))


def show_done(output: Output, done: Evaluation) -> int:
    """Print a finished evaluation; the exit code tells of skipped samples and sets left out."""
    results = done.results
    output.document({"path": str(done.path), **results.model_dump(mode="json", by_alias=True)})
    show_tables(output, results)
    output.print(
        "\nWrote {folder}/results.md, results.json and the answers in parts/.", folder=done.path
    )
    where = str(done.path / "results.json")
    skipped, used = dict(results.skipped), dict(results.samples)
    for variant, sets in results.failed.items():
        for name, each in sets.items():
            skipped[f"{name} with {variant}"] = each
            used[f"{name} with {variant}"] = results.samples.get(name, 0) - len(each)
    return show_skipped(output, skipped, used, where, results.left_out)


def show_tables(output: Output, results: Results) -> None:
    """The tables, as many data sets side by side as fit, and how the scores came about."""
    from swiftprof.evaluation.table import how, ladder_note, tables

    output.tables(*tables(results, output.width))
    output.print()
    for name, text in how(results).items():
        output.print("[dim]{name} {text}[/dim]", name=name, text=text)
    if note := ladder_note(results):
        output.print("[dim]{note}[/dim]", note=note)
