"""`swiftprof plan`: from a profile, or a bare curve, to plan.json."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from swiftprof.cli.options import (
    BudgetOpt,
    BudgetOptions,
    JsonOpt,
    LoadOptions,
    SeedOpt,
    VisualTokensOpt,
    complete_methods,
    complete_models,
    complete_words,
    grouped,
    split_list,
)
from swiftprof.cli.output import PICTURES, Output, check_out
from swiftprof.errors import BadParameter
from swiftprof.hub import CURVE, fetch, is_shared
from swiftprof.methods.options import read_value

if TYPE_CHECKING:
    from swiftprof.planning.curve import Curve
    from swiftprof.planning.plan_file import Plan

EXAMPLES = (
    "swiftprof plan --budget 3",
    "swiftprof plan --budget 2 --ratio 1/4 --out half.json --plot curve.png",
    "swiftprof plan profiles/mine --budget 3 --retain 192",
    "swiftprof plan --search 10m --ratio 2/9",
    "swiftprof plan --preset often --model llava-1.5-7b --retain 128",
    "swiftprof plan --curve curve.json --model llava-1.5-7b --flops 1.75 --json",
)
ALL = ""
"""Name of the curve of all data sets."""


@dataclass(frozen=True)
class Pruning:
    """What prunes, and how."""

    panel: ClassVar[str] = "Method"

    method: Annotated[
        str, typer.Option(help="The method that prunes.", autocompletion=complete_methods)
    ] = "swiftvlm"
    layers: Annotated[
        str | None,
        typer.Option(
            help="Where to prune: planned, own (the method's published layers), equal (equal "
            "depths), or layers as 3,11,15.",
            show_default="planned, or the method's own",
            autocompletion=complete_words("planned", "own", "equal"),
        ),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            help="How tokens fall from stage to stage: uniform, gentle, geometric, steep, a tilt "
            "(0 is uniform, 1 geometric), or published.",
            show_default="the method's",
            autocompletion=complete_words("uniform", "gentle", "geometric", "steep", "published"),
        ),
    ] = None
    merge: Annotated[
        float, typer.Option(help="Merged tokens of a stage, as a fraction of the visual tokens.")
    ] = 0.05
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of the method, as seeds=even; may be repeated."),
    ] = None

    def setting(self) -> dict[str, Any]:
        """As the planner takes it, without the layers. Raises SwiftprofError."""
        return {
            "method": self.method,
            "schedule": self.schedule,
            "merge_share": self.merge,
            "options": _option_values(self.option),
        }

    def at(self) -> str | tuple[int, ...] | None:
        """Where to prune: a rule, or layers. Raises SwiftprofError."""
        from swiftprof.planning.api import LAYER_RULES

        if self.layers is None or self.layers in LAYER_RULES:
            return self.layers
        return _layer_numbers(self.layers)


@dataclass(frozen=True)
class Searching:
    """Plans beyond the paper's."""

    panel: ClassVar[str] = "Beyond the paper"

    search: Annotated[
        str | None,
        typer.Option(
            help="Look for a better plan by measurement: for a time (10m) or a number of "
            "candidates (200). Loads the model."
        ),
    ] = None
    equal: Annotated[
        Literal["flops", "tokens"],
        typer.Option(help="What candidates have in common with the paper's plan."),
    ] = "flops"
    samples: Annotated[
        int, typer.Option(min=10, help="Calibration samples a set for --search.")
    ] = 160
    folder: Annotated[
        Path | None, typer.Option(help="Keeps what --search measured, so that it can go on.")
    ] = None
    preset: Annotated[
        Literal["often"] | None, typer.Option(help="A plan that needs no profile.")
    ] = None


@grouped()
def plan(
    tokens: BudgetOptions,
    pruning: Pruning,
    searching: Searching,
    profile: Annotated[
        str | None,
        typer.Argument(
            help="A profile folder, or hf://owner/name.",
            show_default="the newest in profiles/, else the bundled one",
        ),
    ] = None,
    budget: BudgetOpt = 3,
    curve: Annotated[
        Path | None,
        typer.Option(help='Plan from a bare curve, {"num_layers": 32, "x": {"2": 0.61, …}}.'),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Take this model's newest profile; with --curve, the model it belongs to.",
            autocompletion=complete_models,
        ),
    ] = None,
    visual_tokens: VisualTokensOpt = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples for error bars; 0 for none.")
    ] = 1000,
    normalize: Annotated[
        Literal["relative", "minmax"], typer.Option(help="Scale of a data set's scores.")
    ] = "relative",
    seed: SeedOpt = 0,
    out: Annotated[Path, typer.Option(help="Where the plan goes.")] = Path("plan.json"),
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curve and the plan into this PNG.")
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Choose pruning layers from a profile and fill a token budget: plan.json.

    An exact dynamic program chooses the layers from the profile's curve. Without --retain, --ratio
    and --flops a third of the visual tokens is retained. Methods other than swiftvlm and its
    ablations prune at layers of their own.
    """
    output = Output(json)

    check_out(out)
    check_out(plot, "plot", suffixes=PICTURES)
    wanted = tokens.one()
    curves: dict[str, Curve] = {}
    if searching.preset is not None:
        given = {"profile": profile, "curve": curve, "search": searching.search, "plot": plot}
        for name in given:
            if given[name] is not None:
                raise BadParameter(name, None, "does not go with `preset`, which needs no profile")
        made = _from_preset(searching.preset, model, wanted)
    elif curve is not None or (profile is not None and is_shared(profile)):
        if curve is not None and profile is not None:
            raise BadParameter("curve", None, f"{profile} is given too; plan from one of them")
        if searching.search is not None:
            raise BadParameter("search", None, "needs a profile, whose model and data sets it uses")
        curves[ALL], made = _from_curve(
            curve, profile, model, visual_tokens, budget, wanted, pruning
        )
        if profile is not None:
            output.note("planned from a shared curve: no samples, hence no error bars")
    else:
        if visual_tokens is not None:
            why = "only goes with `curve`; a profile knows its model"
            raise BadParameter("visual_tokens", None, why)
        asked: dict[str, Any] = {"budget": budget, "seed": seed, **wanted}
        setting = {**pruning.setting(), "layers": pruning.at(), "normalize": normalize, **asked}
        if searching.search is not None and pruning != Pruning():
            raise BadParameter("search", None, "chooses layers, schedule and options itself")
        curves, made = _from_profile(profile, model, {**setting, "bootstrap": bootstrap})
        if searching.search is not None:
            made = _searched(output, profile, model, searching, asked)
    made.save(out)
    for note in made.notes:
        output.warn(note)
    whole = curves.pop(ALL, None)
    if plot is not None and whole is not None:
        from swiftprof.drawing import save
        from swiftprof.planning.drawing import plan_figure

        save(plan_figure(whole, made, curves, normalize), plot)
        output.note(f"wrote {plot}")
    output.document(made.to_dict())
    if not json:
        from swiftprof.cli.show_plan import show_plan

        show_plan(output, whole, made)
        output.print("\nWrote {out}", out=out)
        output.next("run", "--plan", out)


def _from_curve(
    path: Path | None,
    shared: str | None,
    model: str | None,
    visual_tokens: int | None,
    budget: int,
    tokens: dict[str, float],
    pruning: Pruning,
) -> tuple[Curve, Plan]:
    """A plan from a curve's file, or from one that somebody shared, which knows its model."""
    import hashlib

    from swiftprof.models.registry import ModelInfo, known_model, known_models
    from swiftprof.planning.api import plan_from_curve
    from swiftprof.planning.curve import Curve
    from swiftprof.planning.fill import Cost, Setting, Target
    from swiftprof.planning.plan_file import Plan, Source

    path = path or fetch(str(shared), CURVE)
    curve, known = Curve.from_json(path), known_model(model) if model else None
    if known is not None and visual_tokens is not None:
        known = replace(known, visual_tokens=visual_tokens)
    info = ModelInfo(name="unnamed", num_layers=curve.num_layers, visual_tokens=visual_tokens)
    if shared is not None:
        info = Plan.load(shared).model
        known = known_model(info.name) if info.name in known_models() else known
    elif known is not None:
        info = known.info
    cost = Cost(info, known.shape if known else None, known.text_tokens if known else 0)
    source = Source(profile=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    setting = Setting.of(**pruning.setting())
    target = Target(**tokens)
    return curve, plan_from_curve(curve, budget, target, cost, setting, pruning.at(), source)


def _from_preset(preset: str, model: str | None, tokens: dict[str, Any]) -> Plan:
    from swiftprof.models.registry import BUNDLED_MODEL, known_model
    from swiftprof.planning.preset import plan_preset

    known = known_model(model or BUNDLED_MODEL)
    return plan_preset(preset, known.info, known.shape, known.text_tokens, **tokens)


def _searched(
    output: Output, path: str | None, model: str | None, how: Searching, wanted: dict[str, Any]
) -> Plan:
    from swiftprof.cli.resolve import read_profile, resolve
    from swiftprof.search.api import search_plan
    from swiftprof.search.limit import Limit

    Limit.parse(str(how.search))
    profile = read_profile(path, model)
    chosen = resolve(LoadOptions(), profile=profile)
    datasets, vlm = chosen.datasets(), chosen.load_model(output)
    with output.progress("searching") as step:
        return search_plan(
            vlm,
            profile,
            limit=str(how.search),
            datasets=datasets,
            equal=how.equal,
            samples=how.samples,
            folder=how.folder,
            progress=step,
            **wanted,
        )


def _from_profile(
    path: str | None, model: str | None, setting: dict[str, Any]
) -> tuple[dict[str, Curve], Plan]:
    """Curves of the data sets and, as `ALL`, of all of them; and the plan."""
    from swiftprof.cli.resolve import read_profile
    from swiftprof.planning.api import plan as make
    from swiftprof.planning.curve import Curve, combine

    profile = read_profile(path, model)
    parts = {ALL: profile.samples} | {n: {n: each} for n, each in profile.samples.items()}
    depth, layers, scale = profile.model.num_layers, profile.layers, setting["normalize"]
    curves = {n: Curve(depth, layers, combine(each, scale)) for n, each in parts.items()}
    return curves, make(profile, **setting)


def _option_values(given: list[str] | None) -> dict[str, object]:
    """`["seeds=even", "spread=0.3"]` as values: true, false, whole numbers, numbers or words."""
    values: dict[str, object] = {}
    for each in given or ():
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise BadParameter("options", each, "must be name=value, as seeds=even")
        values[name] = read_value(text)
    return values


def _layer_numbers(text: str) -> tuple[int, ...]:
    """`"3, 11"` as layers. Raises SwiftprofError."""
    parts = split_list(text)
    if not parts or not all(part.isascii() and part.isdecimal() for part in parts):
        raise BadParameter("layers", text, "must be layer numbers with commas, as 3,11,15")
    return tuple(int(part) for part in parts)
