"""`swiftprof demo`: the whole path on the bundled model, offline, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftprof.cli.options import JsonOpt, SeedOpt
from swiftprof.cli.output import Output

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
    from swiftprof.data.drawing import draw
    from swiftprof.data.registry import BUNDLED, get_dataset

    vlm = resolve(LoadOptions()).load_model(output)
    from swiftprof.cli.show_outcomes import show_outcomes
    from swiftprof.cli.show_plan import show_plan
    from swiftprof.evaluation.answer import VANILLA
    from swiftprof.evaluation.compare import compare
    from swiftprof.evaluation.variants import variants_of
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
    results = []
    for name in BUNDLED:
        dataset = get_dataset(name)
        indices = draw(dataset, "test", test_samples, seed)
        with output.progress(name) as step:
            variants = {VANILLA: None, **variants_of(plan)}
            results.append(compare(vlm, dataset, indices, variants, progress=step))
    show_outcomes(output, vlm, results)
    output.print(
        "[dim]bypass: the plan. drop: the same number of tokens at every layer, but what is not "
        "selected is lost. random: the same, selected at random.[/dim]"
    )
    output.document(
        {
            "profile": str(measured.path),
            "plan": plan.to_dict(),
            "curve": measured.summary.curve,
            "results": [o.summary() for result in results for o in result.values()],
        }
    )
    output.print(
        f"\nWrote {picture} (the curve), {out / 'plan.json'} and {measured.path}/. "
        f"Next: swiftprof run --plan {out / 'plan.json'}"
    )
