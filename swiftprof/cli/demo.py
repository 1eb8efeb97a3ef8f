"""`swiftprof demo`: the whole path on a bundled model, offline, in minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftprof.cli.options import (
    JsonOpt,
    SeedOpt,
    complete_words,
)
from swiftprof.cli.output import Output, check_out, command
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.evaluation.api import Evaluation
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan
    from swiftprof.profiling.store import Profile

EXAMPLES = ("swiftprof demo", "swiftprof demo --quick", "swiftprof demo --model tiny-llava-plain")
BUDGET, RATIO = 3, 1 / 3
SAMPLES, QUICK = 200, 20
ASK = "How many signs are there?"
PAPER, OURS = "paper's plan", "often (ours)"
SAME = "FLOPs of the paper's plan"
WORDS = f"""\
{PAPER}: judges at the layers that the profile chose; what is not selected comes back.
{OURS}: the same method, judging at more layers, without a profile (plan --preset often).
drop: as many tokens at every layer as the paper's plan, but what is not selected is lost.
random: as drop, selected at random."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo"),
    model: Annotated[
        str,
        typer.Option(
            help="tiny-llava, or tiny-llava-plain, which nobody taught where to look.",
            autocompletion=complete_words("tiny-llava", "tiny-llava-plain"),
        ),
    ] = "tiny-llava",
    quick: Annotated[
        bool, typer.Option("--quick", help=f"Only {QUICK} samples of each set: about a minute.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Samples a set to profile, and as many held-out ones to answer.",
            show_default=str(SAMPLES),
        ),
    ] = None,
    seed: SeedOpt = 0,
    json: JsonOpt = False,
) -> None:
    """Profile, plan and run a bundled model on synthetic scenes.

    Everything is measured here and now, on this machine: the capability of every layer, the paper's
    plan for 3 pruning layers and a third of the visual tokens, and its answers on held-out scenes
    beside vanilla, beside our own plan (often) at the same FLOPs, beside dropping, and beside a
    random choice. It ends with one HTML page.
    """
    output = Output(json)
    from swiftprof.cli.options import LoadOptions
    from swiftprof.cli.resolve import resolve

    check_out(out, folder=True)
    count = samples or (QUICK if quick else SAMPLES)
    chosen = resolve(LoadOptions(model=model))
    if not chosen.source.bundled:
        raise BadParameter("model", model, "is not bundled; use swiftprof profile, plan and eval")
    vlm = chosen.load_model(output)
    runs = [out / f"{name}-{model}-{seed}" for name in ("profile", "eval")]
    measured = _profiled(output, vlm, runs[0], count, seed)
    plans = _planned(output, measured, out)
    done = _evaluated(output, vlm, plans, runs[1], count, seed)
    found = _outcome(done)
    page = _page(out, runs, found)
    output.document(
        {
            "profile": str(measured.path),
            "plan": plans[PAPER].to_dict(),
            "often": plans[OURS].to_dict(),
            "curve": measured.summary.curve,
            "results": done.results.model_dump(mode="json", by_alias=True),
            "page": str(page),
        }
    )
    output.print(
        "\n[bold]{found}[/bold]\n"
        "Wrote {out}/: plan.json (the paper's), often.json, curve.png, {profile}/, {eval}/.\n"
        "[bold]Open {page} in a browser[/bold]: curve, plans, table, samples to look at.",
        found=found,
        out=out,
        profile=measured.path,
        eval=done.path,
        page=page,
    )
    output.next("run", "--plan", out / "often.json", "--image", "scene-1", "--prompt", ASK)


def _profiled(output: Output, vlm: VLM, folder: Path, samples: int, seed: int) -> Profile:
    from swiftprof.data.registry import BUNDLED
    from swiftprof.profiling.api import profile

    output.print(
        f"[bold]1. Profile[/bold]  {samples} samples of each of {', '.join(BUNDLED)} "
        f"(synthetic scenes): one vanilla run and {vlm.num_layers - 1} re-runs per sample, "
        f"each on one layer's top 20 % of {vlm.visual_tokens} visual tokens\n"
    )
    with output.progress("profiling") as step:
        return profile(vlm, BUNDLED, samples=samples, seed=seed, out=folder, progress=step)


def _planned(output: Output, measured: Profile, out: Path) -> dict[str, Plan]:
    """The paper's plan and the preset at the same FLOPs, written to `out`."""
    from swiftprof.cli.show_plan import show_plan
    from swiftprof.drawing import save
    from swiftprof.planning.api import plan as make_plan
    from swiftprof.planning.drawing import plan_figure
    from swiftprof.planning.preset import plan_preset

    output.print(f"[bold]2. Plan[/bold]  {BUDGET} pruning layers, a third of the visual tokens\n")
    paper = make_plan(measured, budget=BUDGET, ratio=RATIO)
    for note in paper.notes:
        output.warn(note)
    often = plan_preset(
        "often", paper.model, measured.decoder, measured.text_tokens, flops=paper.expected.tflops
    )
    paper.save(out / "plan.json")
    often.save(out / "often.json")
    show_plan(output, measured.curve, paper)
    output.print(
        "[dim]Other samples may give another plan than the README's: stability says how often."
        "[/dim]\n\nThat is the paper's plan. Ours, [bold]often[/bold], costs the same FLOPs and "
        f"prunes at layers {', '.join(map(str, often.pruning_layers))}: "
        f"{often.expected.retained_tokens:.1f} tokens on average."
    )
    save(plan_figure(measured.curve, paper), out / "curve.png")
    return {PAPER: paper, OURS: often}


def _evaluated(
    output: Output, vlm: VLM, plans: Mapping[str, Plan], folder: Path, samples: int, seed: int
) -> Evaluation:
    from swiftprof.cli.evaluate import show_tables
    from swiftprof.data.registry import BUNDLED
    from swiftprof.evaluation.api import evaluate
    from swiftprof.evaluation.settings import VariantSettings

    compared = {**plans, **without_bypass(plans[PAPER])}
    output.print(f"\n[bold]3. Run[/bold]  {samples} held-out samples of each set\n")
    with output.progress("evaluating") as step:
        done = evaluate(
            vlm,
            [VariantSettings.of(label, SAME, each) for label, each in compared.items()],
            BUNDLED,
            samples=samples,
            seed=seed,
            out=folder,
            reference=PAPER,
            progress=step,
        )
    show_tables(output, done.results)
    output.print(f"[dim]{WORDS}[/dim]")
    return done


def _outcome(done: Evaluation) -> str:
    """What both plans keep, in one sentence."""
    from swiftprof.evaluation.table import interval

    rows = {row.label: row for row in done.results.rows}
    kept = [f"{name} keeps {interval(rows[name].averages['overall'])}" for name in (PAPER, OURS)]
    return f"At the same FLOPs, of the unpruned model's score: {'; '.join(kept)}."


def _page(out: Path, runs: Sequence[Path], found: str) -> Path:
    """One HTML page of profile, both plans, and answers."""
    from dataclasses import replace

    from swiftprof.files import write_text_atomic
    from swiftprof.report.collect import collect
    from swiftprof.report.html import render
    from swiftprof.report.images import Album

    path, plans = out / "demo.html", [out / "plan.json", out / "often.json"]
    everything = [runs[0], *plans, runs[1]]
    page = collect(
        everything, samples=40, album=Album(every=False, data_root=None), title="swiftprof demo"
    )
    names = iter(("The paper's plan", "Our plan, often, at the same FLOPs"))
    for number, each in enumerate(page.sections):
        if each.kind == "plan":
            name = next(names)
            each = replace(each, title=f"{name}: {each.title.lower()}", command="")
            each = replace(each, headline=each.headline.replace("The plan", name, 1))
        elif each.kind == "evaluation":
            each = replace(each, headline=found)
        page.sections[number] = each
    page.command = command("report", *everything, "--out", path)
    write_text_atomic(path, render(page))
    return path


def without_bypass(plan: Plan) -> dict[str, Plan]:
    """Dropping, and a random selection, with a plan's number of tokens at every layer.

    Without merging each stage keeps as many tokens as the plan keeps and merges together.
    """
    from swiftprof.planning.plan_file import Stage

    stages = tuple(
        Stage(layer=s.layer, keep=min(1.0, s.keep + s.merge), merge=0.0) for s in plan.stages
    )
    return {
        method: plan.model_copy(update={"method": method, "stages": stages, "options": {}})
        for method in ("drop", "random")
    }
