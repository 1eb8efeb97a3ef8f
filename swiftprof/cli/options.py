"""Options that several commands share: one name, one meaning, one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftprof.errors import SwiftprofError

__all__ = [
    "AttnOpt",
    "BatchSizeOpt",
    "BudgetOpt",
    "DataRootOpt",
    "DatasetsOpt",
    "DeviceOpt",
    "DtypeOpt",
    "FlopsOpt",
    "JsonOpt",
    "LimitOpt",
    "MethodOpt",
    "ModelOpt",
    "PlanOpt",
    "PromptStyleOpt",
    "RatioOpt",
    "RetainOpt",
    "ScheduleOpt",
    "SeedOpt",
    "TextTokensOpt",
    "VisualTokensOpt",
    "batch_size",
    "split_list",
]

JsonOpt = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
]
ModelOpt = Annotated[
    str | None,
    typer.Option(
        "--model", help="Alias, Hugging Face id or local folder.", show_default="the bundled model"
    ),
]
DatasetsOpt = Annotated[
    str | None,
    typer.Option(
        "--datasets",
        help="Data sets or .jsonl and .parquet files, separated by commas.",
        show_default="those of the bundled model",
    ),
]
DataRootOpt = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar="SWIFTPROF_DATA_ROOT",
        help="Folder with local copies of data sets and of COCO's train2014.",
    ),
]
PromptStyleOpt = Annotated[
    str | None,
    typer.Option(
        "--prompt-style",
        help="Wording of the data sets' prompts: llava, lmms, qwen or internvl.",
        show_default="the model family's own",
    ),
]
PlanOpt = Annotated[Path | None, typer.Option("--plan", help="A plan.json.")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random draw.")]
LimitOpt = Annotated[
    int | None, typer.Option("--limit", min=1, help="Use at most this many samples of a data set.")
]
DeviceOpt = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1 …; auto takes a GPU if there is one.")
]
DtypeOpt = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
AttnOpt = Annotated[
    str | None,
    typer.Option(
        "--attn", help="sdpa, eager or flash_attention_2.", show_default="transformers' choice"
    ),
]
BatchSizeOpt = Annotated[
    str, typer.Option("--batch-size", help="Samples that run together, or auto.")
]
BudgetOpt = Annotated[int, typer.Option("--budget", help="How many pruning layers, at most.")]
RetainOpt = Annotated[
    float | None,
    typer.Option("--retain", help="Visual tokens to retain, averaged over all layers."),
]
RatioOpt = Annotated[
    float | None,
    typer.Option("--ratio", help="The same as a fraction of the prompt's visual tokens."),
]
FlopsOpt = Annotated[
    float | None, typer.Option("--flops", help="TFLOPs that the prefill may cost, in all.")
]
MethodOpt = Annotated[str, typer.Option("--method", help="The method that prunes.")]
ScheduleOpt = Annotated[
    str,
    typer.Option("--schedule", help="How tokens fall from stage to stage: geometric or uniform."),
]
VisualTokensOpt = Annotated[
    int | None, typer.Option("--visual-tokens", min=1, help="Visual tokens of a prompt.")
]
TextTokensOpt = Annotated[
    float | None,
    typer.Option("--text-tokens", min=0, help="Tokens of a prompt beside the visual ones."),
]


def split_list(text: str) -> list[str]:
    """`"a, b"` as `["a", "b"]`, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def batch_size(text: str) -> int | None:
    """The value of `--batch-size`; None for auto. Raises SwiftprofError."""
    if text == "auto":
        return None
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise SwiftprofError(f"--batch-size {text}: must be a whole number above 0, or auto")
