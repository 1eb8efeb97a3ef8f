"""`swiftprof flops`: what a prefill costs, from sizes alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    BudgetOptions,
    JsonOpt,
    LoadOptions,
    ModelOpt,
    VisualTokensOpt,
    complete_methods,
    grouped,
    split_list,
)
from swiftprof.cli.output import Output
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.models.registry import KnownModel
    from swiftprof.planning.plan_file import Plan
    from swiftprof.tables import Table

EXAMPLES = (
    "swiftprof flops --model llava-1.5-7b",
    "swiftprof flops --model llava-1.5-7b --methods fastv --retain 192",
    "swiftprof flops --model llava-1.5-7b --methods all --retain 192,128",
    "swiftprof flops --methods swiftvlm@3+11+15 --ratio 1/4 --text-tokens 40 --json",
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
            autocompletion=complete_methods,
        ),
    ] = None,
    plan: Annotated[str | None, typer.Option(help="A plan.json; it brings its model.")] = None,
    visual_tokens: VisualTokensOpt = None,
    text_tokens: Annotated[
        float | None, typer.Option(min=0, help="Tokens of a prompt beside the visual ones.")
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Count the FLOPs of a prefill without loading weights.

    The paper's formulas (eq. 17-19): decoder layers only, a multiply-add as one operation. Without
    a budget or --plan, the cost of the unpruned model.
    """
    from swiftprof.cli.resolve import read_plan, resolve
    from swiftprof.models.registry import BUNDLED_MODEL, known_model

    found = None
    if plan is not None:
        for name, value in {"methods": methods, **vars(tokens)}.items():
            if value is not None:
                raise BadParameter(name, None, "does not go with `plan`, which says it already")
        found = read_plan(plan)
        source = resolve(LoadOptions(model=model), plan=found).source
        model = source.name if source.bundled else source.id
    known = known_model(model or BUNDLED_MODEL)
    sizes = {"visual_tokens": visual_tokens, "text_tokens": text_tokens}
    known = replace(known, **{n: v for n, v in sizes.items() if v is not None})  # type: ignore[arg-type]
    if known.visual_tokens is None:
        raise BadParameter(
            "visual_tokens", None, f"needed: {known.name} has as many as the image asks for"
        )
    plans = {found[1].method: found[1]} if found else _plans(known, methods, tokens)
    rows = [_row(known, *each) for each in plans.items() or [("vanilla", None)]]
    output = Output(json)
    several = {"model": known.name, "formula": rows[0]["formula"], "rows": rows}
    output.document(rows[0] if len(rows) == 1 else several)
    output.tables(_table(rows))


def _plans(known: KnownModel, methods: str | None, tokens: BudgetOptions) -> dict[str, Plan]:
    """Every method at every budget, by name; none where there is no budget."""
    from swiftprof.evaluation.specs import plans_at
    from swiftprof.methods import REGISTRY
    from swiftprof.planning.fill import Cost

    targets = tokens.targets()
    if not targets:
        if methods not in (None, "vanilla"):
            raise BadParameter(
                "retain", None, "missing; say how many tokens are retained (or `ratio`)"
            )
        return {}
    every = [name for name in REGISTRY if name != "vanilla"]
    names = every if methods == "all" else split_list(methods or "swiftvlm")
    cost = Cost(known.info, known.shape, known.text_tokens)
    return plans_at(cost, names, targets)


def _row(known: KnownModel, name: str, plan: Plan | None) -> dict[str, Any]:
    from swiftprof.core.stages import tokens_per_layer
    from swiftprof.costs import flops as cost
    from swiftprof.methods import create

    shape, visual, text = known.shape, known.visual_tokens or 0, known.text_tokens
    stages = plan.stages if plan is not None else ()
    method = create(plan.method, plan.options) if plan is not None else create("vanilla")
    counts = tokens_per_layer(stages, shape.num_layers, visual, method.first)
    vanilla, total, overhead = cost.vanilla_flops(shape, visual, text), 0.0, 0.0
    if stages:
        total = cost.plan_flops(shape, stages, visual, text, method=method)
        overhead = cost.stages_overhead_flops(shape, stages, visual, text, method=method)
    total = total or vanilla
    tera = {
        "tflops": total,
        "tflops_vanilla": vanilla,
        "tflops_layers": total - overhead,
        "tflops_overhead": overhead,
        "tflops_decode_per_token": cost.decode_flops(shape, stages, visual, text, method.first),
    }
    return {
        "model": known.name,
        "variant": name,
        "method": plan.method if plan is not None else "vanilla",
        **{name: float(f"{value / 1e12:.6g}") for name, value in tera.items()},
        "formula": cost.FORMULA,
        "retained_tokens": round(sum(counts) / len(counts), 4),
        "visual_tokens": visual,
        "text_tokens": text,
        "pruning_layers": [stage.layer for stage in stages],
        "stages": [stage.model_dump() for stage in stages],
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    from swiftprof.tables import Table, flops_unit, percent

    first = rows[0]
    vanilla, visual = first["tflops_vanilla"], first["visual_tokens"]
    unit, scaled = flops_unit(vanilla)

    def cells(row: dict[str, Any]) -> tuple[str, ...]:
        stages = [
            f"{s['keep'] * visual:.0f}" + (f"+{s['merge'] * visual:.0f}" if s["merge"] else "")
            for s in row["stages"]
        ]
        return (
            row["variant"],
            f"{row['retained_tokens']:.1f}",
            scaled(row["tflops"]),
            percent(1 - row["tflops"] / vanilla),
            scaled(row["tflops_overhead"]),
            ", ".join(map(str, row["pruning_layers"])),
            ", ".join(stages),
        )

    unpruned = ("vanilla", str(visual), scaled(vanilla), "", "", "", "")
    return Table(
        ("method", "retained", unit, "less", "pruning", "layers", "kept + merged"),
        (unpruned, *(cells(row) for row in rows if row["stages"])),
        f"{first['model']}, {visual} visual and {first['text_tokens']:g} other tokens",
        f"pruning: judging and merging, within the {unit}. {first['formula']}",
        left=(0, 5, 6),
    )
