"""`swiftprof demo`: the whole path on the bundled model, offline, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftprof.cli.options import JsonOpt, SeedOpt
from swiftprof.cli.output import Output, command

if TYPE_CHECKING:
    from swiftprof.evaluation.api import Evaluation
    from swiftprof.evaluation.settings import VariantSettings
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan
    from swiftprof.profiling.store import Profile

EXAMPLES = ("swiftprof demo", "swiftprof demo --quick")
BUDGET, RATIO = 3, 1 / 3
SAMPLES, QUICK, PROBE = 200, 20, 4
ASK = "How many signs are there?"


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help=f"Only {QUICK} samples of each set: about a minute.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, help="Samples a set for the profile.", show_default=str(SAMPLES)
        ),
    ] = None,
    test_samples: Annotated[
        int | None,
        typer.Option(
            "--test-samples", min=1, help="Held-out samples a set.", show_default=str(SAMPLES)
        ),
    ] = None,
    seed: SeedOpt = 0,
    json: JsonOpt = False,
) -> None:
    """Profile, plan and run the bundled model on synthetic scenes.

    Everything is measured here and now, on this machine: the capability of every layer, the plan
    for 3 pruning layers and a third of the visual tokens, and its answers on held-out scenes
    beside vanilla, beside dropping the same tokens, and beside a random choice of them. It ends
    with one HTML page.
    """
    output = Output(json)
    from swiftprof.cli.options import LoadOptions
    from swiftprof.cli.resolve import check_out, resolve

    check_out(out, folder=True)
    usual = QUICK if quick else SAMPLES
    profiled, asked = samples or usual, test_samples or usual
    vlm = resolve(LoadOptions()).load_model(output)
    measured = _profiled(output, vlm, out / f"profile-{seed}", profiled, seed)
    plan, picture = _planned(output, measured, out)
    done = _evaluated(output, vlm, plan, out / f"eval-{seed}", asked, seed)
    page = _page(out / "demo.html", [measured.path, done.path])
    output.document(
        {
            "profile": str(measured.path),
            "plan": plan.to_dict(),
            "curve": measured.summary.curve,
            "results": done.results.model_dump(mode="json", by_alias=True),
            "page": str(page),
        }
    )
    output.print(
        "\nWrote {curve}, {out}/plan.json, {profile}/ and {eval}/ (the tables: results.md).\n"
        "[bold]Open {page} in a browser[/bold]: curve, plan, table, samples to look at.",
        curve=picture,
        out=out,
        profile=measured.path,
        eval=done.path,
        page=page,
    )
    output.next("run", "--plan", out / "plan.json", "--image", "scene-1", "--prompt", ASK)


def _profiled(output: Output, vlm: VLM, folder: Path, samples: int, seed: int) -> Profile:
    """The profile. A few samples first, which stay: they tell how long the rest takes here."""
    import time

    from swiftprof.data.registry import BUNDLED
    from swiftprof.profiling.api import profile

    output.print(
        f"[bold]1. Profile[/bold]  {samples} samples of each of {', '.join(BUNDLED)} "
        f"(synthetic scenes): one vanilla run and {vlm.num_layers - 1} re-runs per sample, "
        f"each on one layer's top 20 % of {vlm.visual_tokens} visual tokens"
    )
    began = time.monotonic()
    if samples > PROBE:
        profile(vlm, BUNDLED, samples=PROBE, seed=seed, out=folder)
        per_sample = (time.monotonic() - began) / PROBE
        output.print(f"[dim]about {_span(per_sample * (samples - PROBE))} on this machine[/dim]")
    output.print()
    with output.progress("profiling") as step:
        return profile(vlm, BUNDLED, samples=samples, seed=seed, out=folder, progress=step)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    return f"{seconds / 60:.0f} minutes"


def _planned(output: Output, measured: Profile, out: Path) -> tuple[Plan, Path]:
    from swiftprof.cli.show_plan import show_plan
    from swiftprof.planning.api import plan as make_plan
    from swiftprof.planning.drawing import draw_curve

    output.print(f"[bold]2. Plan[/bold]  {BUDGET} pruning layers, a third of the visual tokens\n")
    plan = make_plan(measured, budget=BUDGET, ratio=RATIO)
    for note in plan.notes:
        output.warn(note)
    plan.save(out / "plan.json")
    show_plan(output, measured.curve, plan)
    output.print(
        "[dim]Other samples may give another plan than the README's (3, 6, 8): stability says how "
        "often.[/dim]"
    )
    picture = draw_curve(
        measured.curve,
        plan,
        out / "curve.png",
        intervals={int(layer): ends for layer, ends in measured.summary.interval.items()},
        title=f"{plan.model.name}: which layers can tell important visual tokens from others",
    )
    return plan, picture


def _evaluated(
    output: Output, vlm: VLM, plan: Plan, folder: Path, samples: int, seed: int
) -> Evaluation:
    from swiftprof.cli.show_eval import show_eval
    from swiftprof.data.registry import BUNDLED
    from swiftprof.evaluation.api import evaluate

    output.print(f"\n[bold]3. Run[/bold]  {samples} held-out samples of each set\n")
    with output.progress("evaluating") as step:
        done = evaluate(
            vlm,
            variants_of(plan, "1/3 of the tokens"),
            BUNDLED,
            samples=samples,
            seed=seed,
            out=folder,
            progress=step,
        )
    if not output.as_json:
        show_eval(output, done.results)
    output.print(
        "[dim]bypass: the plan. drop: the same number of tokens at every layer, but what is not "
        "selected is lost. random: the same, selected at random.[/dim]"
    )
    return done


def _page(path: Path, runs: list[Path]) -> Path:
    """One HTML page of both."""
    from swiftprof.files import write_text_atomic
    from swiftprof.report.collect import collect
    from swiftprof.report.html import render
    from swiftprof.report.images import Album

    page = collect(
        runs, samples=40, album=Album(every=False, data_root=None), title="swiftprof demo"
    )
    page.command = command("report", *runs, "--out", path)
    write_text_atomic(path, render(page))
    return path


def variants_of(plan: Plan, budget: str) -> list[VariantSettings]:
    """The plan, dropping instead of bypass, and a random selection; equal tokens at every layer.

    Without merging each stage keeps as many tokens as the plan keeps and merges together.
    """
    from swiftprof.evaluation.settings import VariantSettings
    from swiftprof.planning.plan_file import Stage

    stages = tuple(
        Stage(layer=s.layer, keep=min(1.0, s.keep + s.merge), merge=0.0) for s in plan.stages
    )
    made = {"bypass": plan} | {
        method: plan.model_copy(update={"method": method, "stages": stages, "options": {}})
        for method in ("drop", "random")
    }
    return [VariantSettings.of(label, budget, each) for label, each in made.items()]
