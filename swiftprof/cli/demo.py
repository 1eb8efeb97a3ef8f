"""`swiftprof demo`: the whole path on the bundled model, offline, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftprof.cli.options import JsonOpt, SeedOpt
from swiftprof.cli.output import Output

if TYPE_CHECKING:
    from swiftprof.evaluation.settings import VariantSettings
    from swiftprof.planning.plan_file import Plan

EXAMPLES = ("swiftprof demo", "swiftprof demo --samples 50 --test-samples 50 --out quick")
BUDGET, RATIO = 3, 1 / 3


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("demo"),
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Samples a set for the profile.")
    ] = 200,
    test_samples: Annotated[
        int, typer.Option("--test-samples", min=1, help="Held-out samples a set.")
    ] = 200,
    seed: SeedOpt = 0,
    json: JsonOpt = False,
) -> None:
    """Profile, plan and run the bundled model on synthetic scenes.

    Everything is measured here and now, on this machine: the capability of every layer, the plan
    for 3 pruning layers and a third of the visual tokens, and its answers on held-out scenes
    beside vanilla, beside dropping the same tokens, and beside a random choice of them.
    """
    output = Output(json)
    from swiftprof.cli.options import LoadOptions
    from swiftprof.cli.resolve import resolve
    from swiftprof.data.registry import BUNDLED

    vlm = resolve(LoadOptions()).load_model(output)
    from swiftprof.cli.show_eval import show_eval
    from swiftprof.cli.show_plan import show_plan
    from swiftprof.evaluation.api import evaluate
    from swiftprof.planning.api import plan as make_plan
    from swiftprof.planning.drawing import draw_curve
    from swiftprof.profiling.api import profile

    layers = vlm.num_layers
    output.print(
        f"[bold]1. Profile[/bold]  {samples} samples of each of {', '.join(BUNDLED)} "
        f"(synthetic scenes): one vanilla run and {layers - 1} re-runs per sample, "
        f"each on one layer's top 20 % of {vlm.visual_tokens} visual tokens\n"
    )
    with output.progress("profiling") as step:
        folder = out / f"profile-{samples}-{seed}"
        measured = profile(vlm, BUNDLED, samples=samples, seed=seed, out=folder, progress=step)
    output.print(f"[bold]2. Plan[/bold]  {BUDGET} pruning layers, a third of the visual tokens\n")
    plan = make_plan(measured, budget=BUDGET, ratio=RATIO)
    for note in plan.notes:
        output.warn(note)
    plan.save(out / "plan.json")
    show_plan(output, measured.curve, plan)
    picture = draw_curve(
        measured.curve,
        plan,
        out / "curve.png",
        intervals={int(layer): ends for layer, ends in measured.summary.interval.items()},
        title=f"{vlm.name}: which layers can tell important visual tokens from unimportant ones",
    )
    output.print(f"\n[bold]3. Run[/bold]  {test_samples} held-out samples of each set\n")
    with output.progress("evaluating") as step:
        done = evaluate(
            vlm,
            variants_of(plan, "1/3 of the tokens"),
            BUNDLED,
            samples=test_samples,
            seed=seed,
            out=out / f"eval-{seed}",
            progress=step,
        )
    show_eval(output, done.results)
    output.print(
        "[dim]bypass: the plan. drop: the same number of tokens at every layer, but what is not "
        "selected is lost. random: the same, selected at random.[/dim]"
    )
    output.document(
        {
            "profile": str(measured.path),
            "plan": plan.to_dict(),
            "curve": measured.summary.curve,
            "results": done.results.model_dump(mode="json", by_alias=True),
        }
    )
    output.print(
        f"\nWrote {picture} (the curve), {out / 'plan.json'} and {measured.path}/. "
        f"Next: swiftprof run --plan {out / 'plan.json'}"
    )


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
