"""`swiftprof bench`: what pruning saves on the clock."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    BudgetOptions,
    JsonOpt,
    LoadOptions,
    complete_methods,
    grouped,
    numbers,
    split_list,
)
from swiftprof.cli.output import Output, check_out, command
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.bench.random_model import Benched

METHODS = "fastv,sparsevlm,drop,swiftvlm"
RATIOS = "1/3,2/9"

EXAMPLES = (
    "swiftprof bench",
    "swiftprof bench --config llava-1.5-7b --scale 0.125 --retain 192,128",
    "swiftprof bench --config llava-1.5-7b --dtype bfloat16 --batch-size 1,8,32",
    "swiftprof bench --compile --methods swiftvlm --max-new-tokens 64",
    "swiftprof bench --model llava-1.5-7b --methods plan.json --out benchmarks/results/mine.json",
)


@grouped()
def bench(
    load: LoadOptions,
    tokens: BudgetOptions,
    config: Annotated[
        str | None,
        typer.Option(
            help="Random weights in the sizes of this model: llava-1.5-7b … Downloads nothing."
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Factor on the widths of --config; depth and tokens stay.")
    ] = 1.0,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods with commas, as for eval, or plan files.", autocompletion=complete_methods
        ),
    ] = METHODS,
    sizes: Annotated[
        str, typer.Option("--batch-size", help="Prompts that run together; several as 1,8,32.")
    ] = "1",
    new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Tokens to generate.")
    ] = 8,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Decode compiled on static caches, vanilla too.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Write the JSON document to this file as well.")
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Time pruning methods against the unpruned model, phase by phase.

    All variants run in turns in one process, on the same attention backend; ratios are taken
    inside a round, so they hold on a noisy machine. Beside each ratio of prefill times stands the
    ratio of FLOPs (paper eq. 17-19), and their quotient, the efficiency.
    """
    output = Output(json)

    if config is None and scale != 1.0:
        raise BadParameter("scale", None, "goes with `config` NAME")
    if config is not None and load.model is not None:
        raise BadParameter("config and model", None, "give only one of them")
    check_out(out)
    batches = [int(each) for each in numbers("batch_size", sizes)]
    if min(batches) < 1 or batches != numbers("batch_size", sizes):
        raise BadParameter("batch_size", sizes, "must be whole numbers above 0, as 1,8,32")
    subject = _loaded(output, load) if config is None else _sized(config, scale, load)
    from swiftprof.bench.document import document, tables
    from swiftprof.bench.speed import compare_speed
    from swiftprof.evaluation.specs import plans_at
    from swiftprof.files import write_text_atomic

    plans = plans_at(subject.cost, split_list(methods), tokens.targets(RATIOS))
    settings: dict[str, Any] = {"new_tokens": new_tokens, "repeats": repeats, "compiled": compiled}
    with output.progress(f"timing {subject.name}") as step:
        rows = compare_speed(subject, plans, batches, **settings, progress=step)
    found = document(subject, plans, rows, {**settings, "batches": batches})
    found["command"] = command(*sys.argv[1:])
    if out is not None:
        write_text_atomic(out, dumps(found, indent=1, ensure_ascii=False) + "\n")
        output.note(f"wrote {out}")
    output.document(found)
    output.tables(*tables(found))


def _loaded(output: Output, load: LoadOptions) -> Benched:
    from swiftprof.bench.random_model import loaded_model
    from swiftprof.cli.resolve import resolve

    return loaded_model(resolve(load).load_model(output))


def _sized(config: str, scale: float, load: LoadOptions) -> Benched:
    """A model with random weights, of the type, on the device and with the attention asked for."""
    import torch

    from swiftprof.bench.random_model import random_model
    from swiftprof.models.settings import LoadSettings

    settings = LoadSettings(dtype=load.dtype, device=load.device, attn=load.attn).checked()
    device, dtype = torch.device(settings.device), settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    attn = load.attn or "sdpa"
    return random_model(config, scale=scale, dtype=getattr(torch, dtype), device=device, attn=attn)
