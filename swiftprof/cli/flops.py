"""`swiftprof flops`: what a prefill costs, from sizes alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli import complete
from swiftprof.cli.options import (
    BudgetOptions,
    JsonOpt,
    LoadOptions,
    ModelOpt,
    TextTokensOpt,
    VisualTokensOpt,
    grouped,
)
from swiftprof.cli.output import Output, flops_text, percent
from swiftprof.cli.values import layer_numbers, split_list
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.models.known import KnownModel
    from swiftprof.planning.plan_file import Plan

EXAMPLES = (
    "swiftprof flops --model llava-1.5-7b",
    "swiftprof flops --model llava-1.5-7b --methods fastv --retain 192",
    "swiftprof flops --model llava-1.5-7b --methods all --retain 192,128",
    "swiftprof flops --model llava-1.5-7b --layers 3,11,15 --ratio 1/4 --text-tokens 40 --json",
    "swiftprof flops --plan plan.json",
)


@grouped()
def flops(
    tokens: BudgetOptions,
    model: ModelOpt = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            "--method",
            help="What prunes, with commas, as for swiftprof eval; or all.",
            show_default="swiftvlm",
            autocompletion=complete.methods,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers", help="Pruning layers, as 3,11,15.", show_default="the method's published"
        ),
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="A plan.json; it brings its model.")
    ] = None,
    visual_tokens: VisualTokensOpt = None,
    text_tokens: TextTokensOpt = None,
    json: JsonOpt = False,
) -> None:
    """Count the FLOPs of a prefill without loading weights.

    The paper's formulas (eq. 17-19): decoder layers only, a multiply-add as one operation. Without
    a budget or --plan, the cost of the unpruned model. Several methods or budgets make a table.
    """
    from swiftprof.cli.resolve import read_plan, resolve
    from swiftprof.models.known import known_model
    from swiftprof.models.registry import BUNDLED_MODEL

    if plan is not None:
        given = {"methods": methods, "layers": layers, **vars(tokens)}
        for name, value in given.items():
            if value is not None:
                raise BadParameter(name, None, "does not go with `plan`, which says it already")
        found = read_plan(plan)
        source = resolve(LoadOptions(model=model), plan=found).source
        known = known_model(source.name if source.bundled else source.id)
        plans: list[Plan | None] = [found[1]]
    else:
        known, plans = known_model(model or BUNDLED_MODEL), []
    if visual_tokens is not None:
        known = replace(known, visual_tokens=visual_tokens)
    if text_tokens is not None:
        known = replace(known, text_tokens=text_tokens)
    plans = plans or _plans(known, methods, layers, tokens)
    rows = [_row(known, each) for each in plans]
    output = Output(json)
    if len(rows) == 1:
        output.document(rows[0])
        _show(output, rows[0])
        return
    output.document({"model": known.name, "formula": rows[0]["formula"], "rows": rows})
    if not json:
        _table(output, rows)


def _plans(
    known: KnownModel, methods: str | None, layers: str | None, tokens: BudgetOptions
) -> list[Plan | None]:
    """Every method at every budget; the unpruned model where there is no budget."""
    from swiftprof.cli.budgets import plans_at
    from swiftprof.methods import REGISTRY
    from swiftprof.planning.fill import Cost
    from swiftprof.planning.plan_file import ModelInfo

    name, texts, values = tokens.given()
    if not values:
        if layers is not None or methods not in (None, "vanilla"):
            raise BadParameter(
                "retain", None, "missing; say how many tokens are retained (or `ratio`)"
            )
        return [None]
    if known.visual_tokens is None:
        raise BadParameter(
            "visual_tokens", None, f"needed: {known.name} has as many as the image asks for"
        )
    every = [name for name in REGISTRY if name != "vanilla"]
    names = every if methods == "all" else split_list(methods or "swiftvlm")
    info = ModelInfo(
        name=known.name, num_layers=known.shape.num_layers, visual_tokens=known.visual_tokens
    )
    at = layer_numbers(layers) if layers is not None else "own"
    cost = Cost(info, known.shape, known.text_tokens)
    return [*plans_at(cost, names, (name, texts, values), at).values()] or [None]


def _row(known: KnownModel, plan: Plan | None) -> dict[str, Any]:
    from swiftprof.core.stages import tokens_per_layer
    from swiftprof.costs.flops import (
        FORMULA,
        decode_flops,
        plan_flops,
        stages_overhead_flops,
        vanilla_flops,
    )
    from swiftprof.methods import create

    shape, visual, text = known.shape, known.visual_tokens, known.text_tokens
    if visual is None:
        raise BadParameter(
            "visual_tokens", None, f"needed: {known.name} has as many as the image asks for"
        )
    stages = plan.stages if plan is not None else ()
    method = create(plan.method, plan.options) if plan is not None else create("vanilla")
    counts = tokens_per_layer(stages, shape.num_layers, visual, method.first)
    vanilla = vanilla_flops(shape, visual, text)
    total = plan_flops(shape, stages, visual, text, method=method) if stages else vanilla
    overhead = stages_overhead_flops(shape, stages, visual, text, method=method) if stages else 0.0
    tera = {
        "tflops": total,
        "tflops_vanilla": vanilla,
        "tflops_layers": total - overhead,
        "tflops_overhead": overhead,
        "tflops_decode_per_token": decode_flops(shape, stages, visual, text, method.first),
    }
    return {
        "model": known.name,
        "method": plan.method if plan is not None else "vanilla",
        **{name: float(f"{value / 1e12:.6g}") for name, value in tera.items()},
        "formula": FORMULA,
        "retained_tokens": round(sum(counts) / len(counts), 4),
        "visual_tokens": visual,
        "text_tokens": text,
        "pruning_layers": [stage.layer for stage in stages],
        "stages": [stage.model_dump() for stage in stages],
    }


def _show(output: Output, row: dict[str, Any]) -> None:
    vanilla = flops_text(row["tflops_vanilla"])
    lines = [
        "[bold]{model}[/bold], {visual_tokens} visual and {text_tokens:g} other tokens",
        f"vanilla   {vanilla}",
    ]
    if row["stages"]:
        less = percent(1 - row["tflops"] / row["tflops_vanilla"])
        own = percent(row["tflops_overhead"] / row["tflops"], 1)
        lines += [
            f"{{method:<9}} {flops_text(row['tflops'], row['tflops_vanilla'])} "
            f"({less} less), {own} of it for pruning itself",
            f"retained  {row['retained_tokens']:.1f} visual tokens, averaged over layers; "
            f"pruning layers {', '.join(map(str, row['pruning_layers']))}",
        ]
    lines += [
        f"decoding  {flops_text(row['tflops_decode_per_token'])} for the first new token",
        "[dim]{formula}[/dim]",
    ]
    for line in lines:
        output.print(line, **row)


def _table(output: Output, rows: list[dict[str, Any]]) -> None:
    from swiftprof.tables import Table

    first = rows[0]
    unit, factor = ("TFLOPs", 1) if first["tflops_vanilla"] >= 0.1 else ("GFLOPs", 1000)

    def parts(row: dict[str, Any]) -> str:
        visual = row["visual_tokens"]
        return ", ".join(
            f"{s['keep'] * visual:.0f}" + (f"+{s['merge'] * visual:.0f}" if s["merge"] else "")
            for s in row["stages"]
        )

    table = Table(
        ("method", "retained", unit, "pruning", "layers", "kept + merged"),
        tuple(
            (
                row["method"],
                f"{row['retained_tokens']:.1f}",
                f"{row['tflops']:.2f}" if factor == 1 else f"{factor * row['tflops']:.3g}",
                f"{factor * row['tflops_overhead']:.3f}",
                ", ".join(map(str, row["pruning_layers"])),
                parts(row),
            )
            for row in rows
        ),
        title=f"{first['model']}, {first['visual_tokens']} visual and {first['text_tokens']:g} "
        f"other tokens; vanilla {flops_text(first['tflops_vanilla'])}",
        note=first["formula"],
        left=(0, 4, 5),
    )
    output.print(table.terminal())
