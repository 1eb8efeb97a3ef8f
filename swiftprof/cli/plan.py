"""`swiftprof plan`: from a profile, or a bare curve, to plan.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    BudgetOpt,
    FlopsOpt,
    JsonOpt,
    LayersOpt,
    MergeOpt,
    MethodOpt,
    MethodOptionOpt,
    RatioOpt,
    RetainOpt,
    ScheduleOpt,
    SeedOpt,
    TextTokensOpt,
    VisualTokensOpt,
    layer_numbers,
    option_values,
)
from swiftprof.cli.output import Output
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.planning.curve import Curve, Normalize
    from swiftprof.planning.plan_file import Plan
    from swiftprof.profiling.store import Profile

EXAMPLES = (
    "swiftprof plan --budget 3",
    "swiftprof plan profiles/llava-1.5-7b-1a2b3c4d --budget 3 --retain 192",
    "swiftprof plan --budget 2 --ratio 0.25 --out half.json --plot curve.png",
    "swiftprof plan --curve curve.json --model llava-1.5-7b --flops 1.75 --json",
)


def plan(
    profile: Annotated[
        Path | None,
        typer.Argument(help="A profile folder.", show_default="the newest one"),
    ] = None,
    budget: BudgetOpt = 3,
    retain: RetainOpt = None,
    ratio: RatioOpt = None,
    flops: FlopsOpt = None,
    curve: Annotated[
        Path | None,
        typer.Option(
            "--curve", help='Plan from a bare curve, {"num_layers": 32, "x": {"2": 0.61, …}}.'
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model that --curve was measured on.")
    ] = None,
    visual_tokens: VisualTokensOpt = None,
    text_tokens: TextTokensOpt = None,
    method: MethodOpt = "swiftvlm",
    layers: LayersOpt = None,
    schedule: ScheduleOpt = None,
    merge: MergeOpt = 0.05,
    option: MethodOptionOpt = None,
    calibrate: Annotated[
        int,
        typer.Option(
            "--calibrate",
            min=0,
            help="Samples a set of the train split on which schedules are scored; the best is "
            "taken. Loads the model.",
        ),
    ] = 0,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Resamples for error bars; 0 for none.")
    ] = 1000,
    normalize: Annotated[
        str,
        typer.Option("--normalize", help="Scale of a data set's scores: relative or minmax."),
    ] = "relative",
    seed: SeedOpt = 0,
    out: Annotated[Path, typer.Option("--out", help="Where the plan goes.")] = Path("plan.json"),
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve and the plan into this PNG.")
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Choose pruning layers and fill a token budget.

    An exact dynamic program chooses the layers from the profile's curve. Give at most one of
    --retain, --ratio and --flops: without them a third of the visual tokens is retained. The
    options --model, --visual-tokens and --text-tokens belong to --curve. Methods other than
    swiftvlm and its ablations prune at layers of their own.
    """
    output = Output(json)
    if normalize not in ("relative", "minmax"):
        raise SwiftprofError(f"--normalize {normalize}: must be relative or minmax")
    if curve is not None and profile is not None:
        raise SwiftprofError(f"--curve: {profile} is given too; plan from one of them")
    setting: dict[str, Any] = {
        "budget": budget,
        "retain": retain,
        "ratio": ratio,
        "flops": flops,
        "method": method,
        "layers": _layers(layers),
        "schedule": schedule,
        "merge_share": merge,
        "options": option_values(option),
    }
    per_dataset = None
    if curve is not None:
        if calibrate:
            raise SwiftprofError("--calibrate: needs a profile, whose data sets and model it uses")
        drawn, made = _from_curve(curve, model, visual_tokens, text_tokens, setting)
    else:
        alone = {"model": model, "visual-tokens": visual_tokens, "text-tokens": text_tokens}
        for name, value in alone.items():
            if value is not None:
                raise SwiftprofError(f"--{name}: only goes with --curve; a profile knows its model")
        setting |= {"bootstrap": bootstrap, "normalize": normalize, "seed": seed}
        drawn, made, per_dataset = _from_profile(output, profile, setting, calibrate)
    made.save(out)
    for note in made.notes:
        output.warn(note)
    if plot is not None:
        from swiftprof.planning.drawing import draw_curve

        scale: Normalize = "minmax" if normalize == "minmax" else "relative"
        draw_curve(drawn, made, plot, per_dataset=per_dataset, normalize=scale)
        output.note(f"wrote {plot}")
    output.document(made.to_dict())
    if not json:
        from swiftprof.cli.show_plan import show_plan

        show_plan(output, drawn, made)
        output.print(f"\nWrote {out}. Next: swiftprof run --plan {out}")


def _layers(text: str | None) -> str | tuple[int, ...] | None:
    from swiftprof.planning.api import LAYER_RULES

    return text if text is None or text in LAYER_RULES else layer_numbers(text)


def _from_curve(
    path: Path,
    model: str | None,
    visual_tokens: int | None,
    text_tokens: float | None,
    setting: dict[str, Any],
) -> tuple[Curve, Plan]:
    import hashlib

    from swiftprof.models.known import known_model
    from swiftprof.planning.api import plan_from_curve
    from swiftprof.planning.curve import Curve
    from swiftprof.planning.plan_file import ModelInfo, Source

    curve = Curve.from_json(path)
    known = known_model(model) if model else None
    info = ModelInfo(
        name=known.name if known else "unnamed",
        id=known.id if known else None,
        num_layers=known.shape.num_layers if known else curve.num_layers,
        visual_tokens=visual_tokens or (known.visual_tokens if known else None),
    )
    if text_tokens is None:
        text_tokens = known.text_tokens if known else 0
    made = quietly(
        plan_from_curve,
        curve,
        model=info,
        decoder=known.shape if known else None,
        text_tokens=text_tokens,
        source=Source(profile=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()),
        **setting,
    )
    return curve, made


def _from_profile(
    output: Output, path: Path | None, setting: dict[str, Any], calibrate: int
) -> tuple[Curve, Plan, dict[str, Curve]]:
    from swiftprof.planning.api import plan as make
    from swiftprof.planning.curve import Curve, combine
    from swiftprof.profiling.store import Profile, find_newest

    profile = Profile.load(path) if path is not None else find_newest()
    if calibrate:
        if setting["schedule"] is not None:
            raise SwiftprofError("--schedule: does not go with --calibrate, which chooses it")
        setting = {**setting, "schedule": _calibrated(output, profile, setting, calibrate)}
    made = quietly(make, profile, **setting)

    def curve_of(names: list[str]) -> Curve:
        chosen = {name: profile.samples[name] for name in names}
        x = combine(chosen, setting["normalize"])
        return Curve(profile.model.num_layers, profile.layers, x)

    names = list(profile.samples)
    return curve_of(names), made, {name: curve_of([name]) for name in names}


def _calibrated(output: Output, profile: Profile, setting: dict[str, Any], samples: int) -> str:
    """The schedule with the best measured score on calibration samples."""
    from swiftprof.cli.loading import load_model
    from swiftprof.cli.options import LoadOptions
    from swiftprof.evaluation.search import search_schedule

    vlm = load_model(output, LoadOptions(model=profile.model.name))
    with output.progress("calibrating") as step:
        found = search_schedule(vlm, profile, setting, samples=samples, progress=step)
    for name, score in found.scores.items():
        output.note(f"schedule {name}: {score:.4f} of vanilla on {samples} samples a set")
    output.note(f"chosen: {found.best}")
    return found.best


def quietly(make: Callable[..., Plan], *arguments: object, **named: object) -> Plan:
    """Call a planner without its `PlanWarning`; the plan's notes say the same, and are printed."""
    import warnings

    from swiftprof.planning.api import PlanWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        return make(*arguments, **named)
