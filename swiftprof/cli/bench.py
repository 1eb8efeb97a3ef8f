"""`swiftprof bench`: what pruning saves on the clock."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli import complete
from swiftprof.cli.options import BudgetOptions, JsonOpt, LoadOptions, SeedOpt, grouped
from swiftprof.cli.output import Output, command
from swiftprof.cli.values import numbers, split_list
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.bench.random_model import Subject
    from swiftprof.planning.plan_file import Plan

METHODS = "fastv,sparsevlm,drop,swiftvlm"
RATIOS = "1/3,2/9"
SCHEMA = "swiftprof.bench/1"

EXAMPLES = (
    "swiftprof bench",
    "swiftprof bench --config llava-1.5-7b --random-weights --scale 0.125 --retain 192,128",
    "swiftprof bench --config llava-1.5-7b --random-weights --dtype bfloat16 --batch-size 1,8,32",
    "swiftprof bench --model llava-1.5-7b --methods plan.json --out benchmarks/results/mine.json",
)

ConfigOpt = Annotated[
    str | None,
    typer.Option("--config", help="Sizes of this model, with random weights: llava-1.5-7b …"),
]
RandomOpt = Annotated[
    bool, typer.Option("--random-weights", help="Goes with --config; nothing is downloaded.")
]
ScaleOpt = Annotated[
    float, typer.Option("--scale", help="Factor on the widths of --config; depth and tokens stay.")
]
ThreadsOpt = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of a CPU.", show_default="torch's choice"),
]
RepeatsOpt = Annotated[int, typer.Option("--repeats", min=1, help="Rounds that count.")]
OutOpt = Annotated[
    Path | None, typer.Option("--out", help="Write the JSON document to this file as well.")
]


@grouped()
def bench(
    load: LoadOptions,
    tokens: BudgetOptions,
    config: ConfigOpt = None,
    random_weights: RandomOpt = False,
    scale: ScaleOpt = 1.0,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="Methods with commas, as for eval, or plan files.",
            autocompletion=complete.methods,
        ),
    ] = METHODS,
    sizes: Annotated[
        str, typer.Option("--batch-size", help="Prompts that run together; several as 1,8,32.")
    ] = "1",
    text_tokens: Annotated[
        int, typer.Option("--text-tokens", min=2, help="Tokens beside the visual ones (--config).")
    ] = 70,
    new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Tokens to generate.")
    ] = 8,
    repeats: RepeatsOpt = 5,
    warmup: Annotated[
        int, typer.Option("--warmup", min=0, help="Rounds before those that count.")
    ] = 1,
    threads: ThreadsOpt = None,
    seed: SeedOpt = 0,
    out: OutOpt = None,
    json: JsonOpt = False,
) -> None:
    """Time pruning methods against the unpruned model, phase by phase.

    All variants run in turns in one process, on the same attention backend; ratios are taken
    inside a round, so they hold on a noisy machine. Beside each ratio of prefill times stands the
    ratio of FLOPs (paper eq. 17-19), and their quotient, the efficiency.
    """
    output = Output(json)
    from swiftprof.cli.resolve import check_out

    _check_sizes(config, random_weights, scale, load)
    check_out(out)
    batches = _whole("batch_size", sizes)
    _set_threads(threads)
    subject = (
        _sized(config, scale, text_tokens, load, seed)
        if config is not None
        else _loaded(output, load)
    )
    plans = _plans(subject, methods, tokens)
    from swiftprof.bench.speed import compare_speed
    from swiftprof.bench.table import tables

    with output.progress(f"timing {subject.name}") as step:
        rows = compare_speed(
            subject,
            plans,
            batches,
            new_tokens=new_tokens,
            repeats=repeats,
            warmup=warmup,
            progress=step,
        )
    document = {
        **_document(subject),
        "settings": {
            "new_tokens": new_tokens,
            "repeats": repeats,
            "warmup": warmup,
            "batches": batches,
        },
        "rows": rows,
        "plans": {name: _stages(plan) for name, plan in plans.items()},
    }
    _finish(output, document, out)
    output.tables(*tables(document))


def _check_sizes(config: str | None, random_weights: bool, scale: float, load: LoadOptions) -> None:
    if config is None and (random_weights or scale != 1.0):
        raise BadParameter("random_weights and scale", None, "go with `config` NAME")
    if config is not None and load.model is not None:
        raise BadParameter("config and model", None, "give only one of them")


def _whole(parameter: str, text: str) -> list[int]:
    values = numbers(parameter, text)
    if any(v < 1 or v != int(v) for v in values):
        raise BadParameter(parameter, text, "must be whole numbers above 0, as 1,8,32")
    return [int(v) for v in values]


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _sized(
    config: str,
    scale: float,
    text_tokens: int,
    load: LoadOptions,
    seed: int,
) -> Subject:
    from swiftprof.bench.random_model import random_model

    return random_model(config, scale=scale, text_tokens=text_tokens, seed=seed, **_options(load))


def _options(load: LoadOptions) -> dict[str, Any]:
    """Type, device and attention backend of a model with random weights."""
    import torch

    from swiftprof.models.settings import LoadSettings

    settings = LoadSettings(dtype=load.dtype, device=load.device, attn=load.attn).checked()
    where = torch.device(settings.device)
    named = settings.dtype
    if named == "auto":
        named = "bfloat16" if where.type == "cuda" else "float32"
    return {"dtype": getattr(torch, named), "device": where, "attn": load.attn or "sdpa"}


def _loaded(output: Output, load: LoadOptions) -> Subject:
    from swiftprof.bench.random_model import loaded_model
    from swiftprof.cli.resolve import resolve

    return loaded_model(resolve(load).load_model(output))


def _plans(subject: Subject, methods: str, tokens: BudgetOptions) -> dict[str, Plan]:
    """Every method at every budget, at the method's own layers."""
    from swiftprof.cli.budgets import plans_at
    from swiftprof.planning.fill import Cost
    from swiftprof.planning.plan_file import ModelInfo

    info = ModelInfo(
        name=subject.name,
        num_layers=subject.shape.num_layers,
        visual_tokens=subject.visual_tokens,
    )
    cost = Cost(info, subject.shape, subject.text_tokens)
    return plans_at(cost, split_list(methods), tokens.given(RATIOS))


def _stages(plan: Plan) -> list[dict[str, Any]]:
    return [stage.model_dump() for stage in plan.stages]


def _document(subject: Subject) -> dict[str, Any]:
    from swiftprof.bench.environment import environment

    parameter = next(subject.model.parameters())
    return {
        "schema": SCHEMA,
        "kind": "speed",
        "command": command(*sys.argv[1:]),
        "environment": environment(parameter.device),
        "model": {
            "name": subject.name,
            "scale": subject.scale,
            "random_weights": subject.random_weights,
            "shape": vars(subject.shape),
            "visual_tokens": subject.visual_tokens,
            "text_tokens": subject.text_tokens,
            "weight_bytes": sum(p.nbytes for p in subject.model.parameters()),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "attention": str(subject.model.config._attn_implementation),
        },
    }


def _finish(output: Output, document: dict[str, Any], out: Path | None) -> None:
    import json

    from swiftprof.files import write_text_atomic

    if out is not None:
        write_text_atomic(out, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        output.note(f"wrote {out}")
    output.document(document)
