"""`swiftprof flops`: what a prefill costs, from sizes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    JsonOpt,
    ModelOpt,
    PlanOpt,
    RatioOpt,
    RetainOpt,
    ScheduleOpt,
    TextTokensOpt,
    VisualTokensOpt,
    split_list,
)
from swiftprof.cli.output import Output, flops_text, percent
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.planning.plan_file import Stage

__all__ = ["EXAMPLES", "flops"]

EXAMPLES = (
    "swiftprof flops --model llava-1.5-7b",
    "swiftprof flops --model llava-1.5-7b --method fastv --retain 192",
    "swiftprof flops --model llava-1.5-7b --layers 3,11,15 --ratio 0.25 --text-tokens 40 --json",
    "swiftprof flops --model llava-1.5-7b --plan plan.json",
)


def flops(
    model: ModelOpt = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="The method that prunes.", show_default="swiftvlm"),
    ] = None,
    retain: RetainOpt = None,
    ratio: RatioOpt = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers", help="Pruning layers, as 3,11,15.", show_default="the method's published"
        ),
    ] = None,
    schedule: ScheduleOpt = "geometric",
    plan: PlanOpt = None,
    visual_tokens: VisualTokensOpt = None,
    text_tokens: TextTokensOpt = None,
    json: JsonOpt = False,
) -> None:
    """Count the FLOPs of a prefill without loading weights.

    The paper's formulas (eq. 17-19): decoder layers only, a multiply-add as one operation. Without
    --retain, --ratio and --plan, the cost of the unpruned model.
    """
    from swiftprof.measure.flops import plan_flops, stages_overhead_flops, vanilla_flops
    from swiftprof.measure.shapes import known_model
    from swiftprof.models.registry import BUNDLED_MODEL
    from swiftprof.planning.api import BYPASS_METHODS
    from swiftprof.planning.plan_file import Plan
    from swiftprof.planning.tokens import tokens_per_layer

    known = known_model(model or BUNDLED_MODEL)
    visual = visual_tokens or known.visual_tokens
    if visual is None:
        raise SwiftprofError(
            f"--visual-tokens: needed, because {known.name} has as many as the image asks for"
        )
    text = known.text_tokens if text_tokens is None else text_tokens
    if plan is not None:
        _alone("--plan", method=method, retain=retain, ratio=ratio, layers=layers)
        read = Plan.load(plan)
        read.check_model(known.shape.num_layers, known.name)
        method, stages = read.method, read.stages
    elif retain is None and ratio is None:
        if layers is not None or method not in (None, "vanilla"):
            raise SwiftprofError("--retain: missing; say how many tokens are retained (or --ratio)")
        method, stages = "vanilla", ()
    else:
        method = method or "swiftvlm"
        stages = _stages(method, layers, known.shape.num_layers, visual, retain, ratio, schedule)
    bypass = method in BYPASS_METHODS
    counts = tokens_per_layer(stages, known.shape.num_layers, visual)
    total = plan_flops(known.shape, stages, visual, text, bypass=bypass) / 1e12
    vanilla = vanilla_flops(known.shape, visual, text) / 1e12
    overhead = stages_overhead_flops(known.shape, stages, visual, bypass=bypass) / 1e12
    result: dict[str, Any] = {
        "model": known.name,
        "method": method,
        "tflops": float(f"{total:.6g}"),
        "tflops_vanilla": float(f"{vanilla:.6g}"),
        "tflops_overhead": float(f"{overhead:.6g}"),
        "retained_tokens": round(sum(counts) / len(counts), 4),
        "visual_tokens": visual,
        "text_tokens": text,
        "pruning_layers": [stage.layer for stage in stages],
        "stages": [stage.model_dump() for stage in stages],
    }
    output = Output(json)
    output.document(result)
    if not json:
        _show(output, result)


def _stages(
    method: str,
    layers: str | None,
    num_layers: int,
    visual: int,
    retain: float | None,
    ratio: float | None,
    schedule: str,
) -> tuple[Stage, ...]:
    from swiftprof.measure.settings import default_layers
    from swiftprof.planning.api import BYPASS_METHODS
    from swiftprof.planning.budget import MERGE_SHARE, fill_budget
    from swiftprof.planning.checks import check_layers

    if retain is not None and ratio is not None:
        raise SwiftprofError("--retain and --ratio: give only one of them")
    if ratio is not None and not 0 < ratio < 1:
        raise SwiftprofError(f"--ratio {ratio:g}: must be between 0 and 1")
    chosen = default_layers(method, num_layers)  # also refuses an unknown method
    if layers is not None:
        chosen = _layers(layers)
        try:
            check_layers(chosen, num_layers, method)
        except ValueError as error:
            raise SwiftprofError(f"--layers {layers}: {error}") from None
    tokens = retain if retain is not None else (ratio or 0) * visual
    share = MERGE_SHARE if method in BYPASS_METHODS else 0.0
    return fill_budget(chosen, num_layers, visual, tokens, merge_share=share, schedule=schedule)


def _layers(text: str) -> tuple[int, ...]:
    parts = split_list(text)
    if not parts or not all(part.isascii() and part.isdecimal() for part in parts):
        raise SwiftprofError(f"--layers {text}: must be layer numbers with commas, as 3,11,15")
    return tuple(int(part) for part in parts)


def _alone(option: str, **others: object) -> None:
    for name, value in others.items():
        if value is not None:
            raise SwiftprofError(f"--{name}: does not go with {option}, which says it already")


def _show(output: Output, result: dict[str, Any]) -> None:
    pruned = bool(result["stages"])
    output.print(
        f"[bold]{result['model']}[/bold], {result['visual_tokens']} visual and "
        f"{result['text_tokens']:g} other tokens"
    )
    output.print(f"vanilla   {flops_text(result['tflops_vanilla'])}")
    if pruned:
        less = percent(1 - result["tflops"] / result["tflops_vanilla"])
        layers = ", ".join(map(str, result["pruning_layers"]))
        output.print(
            f"{result['method']:<9} {flops_text(result['tflops'], result['tflops_vanilla'])} "
            f"({less} less), {percent(result['tflops_overhead'] / result['tflops'], 1)} of it for "
            f"pruning itself\n"
            f"retained  {result['retained_tokens']:.1f} visual tokens, averaged over layers; "
            f"pruning layers {layers}"
        )
