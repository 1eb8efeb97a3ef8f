"""`swiftprof flops`: what a prefill costs, from sizes alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    JsonOpt,
    MergeOpt,
    MethodOptionOpt,
    ModelOpt,
    PlanOpt,
    ScheduleOpt,
    TextTokensOpt,
    VisualTokensOpt,
    layer_numbers,
    numbers,
    option_values,
    split_list,
)
from swiftprof.cli.output import Output, flops_text, percent
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftprof.methods.base import Method
    from swiftprof.models.known import KnownModel
    from swiftprof.planning.plan_file import Stage

EXAMPLES = (
    "swiftprof flops --model llava-1.5-7b",
    "swiftprof flops --model llava-1.5-7b --method fastv --retain 192",
    "swiftprof flops --model llava-1.5-7b --method all --retain 192,128",
    "swiftprof flops --model llava-1.5-7b --layers 3,11,15 --ratio 0.25 --text-tokens 40 --json",
    "swiftprof flops --model llava-1.5-7b --plan plan.json",
)


def flops(
    model: ModelOpt = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "--methods",
            help="What prunes; several with commas, or all.",
            show_default="swiftvlm",
        ),
    ] = None,
    retain: Annotated[
        str | None,
        typer.Option("--retain", help="Visual tokens to retain on average; several with commas."),
    ] = None,
    ratio: Annotated[
        str | None,
        typer.Option("--ratio", help="The same as fractions of the prompt's visual tokens."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers", help="Pruning layers, as 3,11,15.", show_default="the method's published"
        ),
    ] = None,
    schedule: ScheduleOpt = None,
    merge: MergeOpt = 0.05,
    option: MethodOptionOpt = None,
    plan: PlanOpt = None,
    visual_tokens: VisualTokensOpt = None,
    text_tokens: TextTokensOpt = None,
    json: JsonOpt = False,
) -> None:
    """Count the FLOPs of a prefill without loading weights.

    The paper's formulas (eq. 17-19): decoder layers only, a multiply-add as one operation. Without
    --retain, --ratio and --plan, the cost of the unpruned model. Several methods or budgets make a
    table. --retain means the average over layers of the visual tokens that enter each layer.
    """
    from swiftprof.models.known import known_model
    from swiftprof.models.registry import BUNDLED_MODEL

    known = known_model(model or BUNDLED_MODEL)
    visual = visual_tokens or known.visual_tokens
    if visual is None:
        raise SwiftprofError(
            f"--visual-tokens: needed, because {known.name} has as many as the image asks for"
        )
    text = known.text_tokens if text_tokens is None else text_tokens
    if plan is not None:
        _alone("--plan", method=method, retain=retain, ratio=ratio, layers=layers)
        rows = [_of_plan(known, visual, text, plan)]
    else:
        budgets = _budgets(visual, retain, ratio)
        names = _names(method, bool(budgets), layers)
        chosen = layer_numbers(layers) if layers is not None else None
        options = option_values(option)
        wanted: list[float | None] = [*budgets] or [None]
        rows = [
            _of_method(known, visual, text, name, options, chosen, tokens, schedule, merge)
            for tokens in wanted
            for name in names
        ]
    output = Output(json)
    if len(rows) == 1:
        output.document(rows[0])
        _show(output, rows[0])
        return
    output.document({"model": known.name, "formula": rows[0]["formula"], "rows": rows})
    if not json:
        _table(output, rows)


def _budgets(visual: int, retain: str | None, ratio: str | None) -> list[float]:
    if retain is not None and ratio is not None:
        raise SwiftprofError("--retain and --ratio: give only one of them")
    shares = numbers("--ratio", ratio)
    for share in shares:
        if not 0 < share < 1:
            raise SwiftprofError(f"--ratio {share:g}: must be between 0 and 1")
    return [share * visual for share in shares] or numbers("--retain", retain)


def _names(method: str | None, budgeted: bool, layers: str | None) -> list[str]:
    from swiftprof.methods import REGISTRY

    if not budgeted:
        if layers is not None or method not in (None, "vanilla"):
            raise SwiftprofError("--retain: missing; say how many tokens are retained (or --ratio)")
        return ["vanilla"]
    if method == "all":
        return [name for name in REGISTRY if name != "vanilla"]
    return split_list(method or "swiftvlm")


def _of_plan(known: KnownModel, visual: int, text: float, path: Path) -> dict[str, Any]:
    from swiftprof.methods import create
    from swiftprof.planning.plan_file import Plan

    read = Plan.load(path)
    read.check_model(known.shape.num_layers, known.name)
    return _row(known, visual, text, read.method, create(read.method, read.options), read.stages)


def _of_method(
    known: KnownModel,
    visual: int,
    text: float,
    name: str,
    options: dict[str, object],
    layers: tuple[int, ...] | None,
    tokens: float | None,
    schedule: str | None,
    merge: float,
) -> dict[str, Any]:
    from swiftprof.core.stages import check_layers
    from swiftprof.planning.budget import fill_budget
    from swiftprof.planning.fill import Setting

    setting = Setting.of(name, options, schedule=schedule, merge_share=merge)
    if tokens is None or name == "vanilla":
        return _row(known, visual, text, name, setting.method, ())
    depth = known.shape.num_layers
    if layers is not None:
        try:
            check_layers(layers, depth, setting.method.earliest)
        except ValueError as error:
            raise SwiftprofError(f"--layers {','.join(map(str, layers))}: {error}") from None
    chosen = layers or setting.method.default_layers(depth, tokens / visual)
    stages = fill_budget(
        chosen,
        depth,
        visual,
        tokens,
        method=setting.method,
        merge_share=merge,
        schedule=schedule,
    )
    return _row(known, visual, text, name, setting.method, stages)


def _row(
    known: KnownModel,
    visual: int,
    text: float,
    name: str,
    method: Method,
    stages: Sequence[Stage],
) -> dict[str, Any]:
    from swiftprof.core.stages import tokens_per_layer
    from swiftprof.costs.flops import (
        FORMULA,
        decode_flops,
        plan_flops,
        stages_overhead_flops,
        vanilla_flops,
    )

    shape = known.shape
    counts = tokens_per_layer(stages, shape.num_layers, visual, method.first)
    total = plan_flops(shape, stages, visual, text, method=method) / 1e12
    overhead = stages_overhead_flops(shape, stages, visual, text, method=method) / 1e12
    if not stages:
        total, overhead = vanilla_flops(shape, visual, text) / 1e12, 0.0
    decoding = decode_flops(shape, stages, visual, text, method.first) / 1e12
    return {
        "model": known.name,
        "method": name,
        "tflops": float(f"{total:.6g}"),
        "tflops_vanilla": float(f"{vanilla_flops(shape, visual, text) / 1e12:.6g}"),
        "tflops_layers": float(f"{total - overhead:.6g}"),
        "tflops_overhead": float(f"{overhead:.6g}"),
        "tflops_decode_per_token": float(f"{decoding:.6g}"),
        "formula": FORMULA,
        "retained_tokens": round(sum(counts) / len(counts), 4),
        "visual_tokens": visual,
        "text_tokens": text,
        "pruning_layers": [stage.layer for stage in stages],
        "stages": [stage.model_dump() for stage in stages],
    }


def _alone(option: str, **others: object) -> None:
    for name, value in others.items():
        if value is not None:
            raise SwiftprofError(f"--{name}: does not go with {option}, which says it already")


def _show(output: Output, result: dict[str, Any]) -> None:
    output.print(
        f"[bold]{result['model']}[/bold], {result['visual_tokens']} visual and "
        f"{result['text_tokens']:g} other tokens"
    )
    output.print(f"vanilla   {flops_text(result['tflops_vanilla'])}")
    if result["stages"]:
        less = percent(1 - result["tflops"] / result["tflops_vanilla"])
        layers = ", ".join(map(str, result["pruning_layers"]))
        output.print(
            f"{result['method']:<9} {flops_text(result['tflops'], result['tflops_vanilla'])} "
            f"({less} less), {percent(result['tflops_overhead'] / result['tflops'], 1)} of it for "
            f"pruning itself\n"
            f"retained  {result['retained_tokens']:.1f} visual tokens, averaged over layers; "
            f"pruning layers {layers}"
        )
    output.print(
        f"decoding  {flops_text(result['tflops_decode_per_token'])} for the first new token"
    )
    output.print(f"[dim]{result['formula']}[/dim]")


def _table(output: Output, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    first = rows[0]
    unit, factor = ("TFLOPs", 1) if first["tflops_vanilla"] >= 0.1 else ("GFLOPs", 1000)
    output.print(
        f"[bold]{first['model']}[/bold], {first['visual_tokens']} visual and "
        f"{first['text_tokens']:g} other tokens; vanilla {flops_text(first['tflops_vanilla'])}\n"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("method", no_wrap=True)
    for name in ("retained", unit, "pruning", "layers", "kept + merged"):
        table.add_column(name, justify="left" if name in ("layers", "kept + merged") else "right")
    for row in rows:
        visual = row["visual_tokens"]
        parts = [
            f"{s['keep'] * visual:.0f}" + (f"+{s['merge'] * visual:.0f}" if s["merge"] else "")
            for s in row["stages"]
        ]
        table.add_row(
            row["method"],
            f"{row['retained_tokens']:.1f}",
            f"{row['tflops']:.2f}" if factor == 1 else f"{factor * row['tflops']:.3g}",
            f"{factor * row['tflops_overhead']:.3f}",
            ", ".join(map(str, row["pruning_layers"])),
            ", ".join(parts),
        )
    output.print(table)
    output.print(f"\n[dim]{first['formula']}[/dim]")
