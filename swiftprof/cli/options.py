"""Options that several commands share: one name, one meaning, one help text each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from swiftprof.errors import SwiftprofError
from swiftprof.methods.options import read_value

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
SplitOpt = Annotated[
    str | None,
    typer.Option("--split", help="Split to run on.", show_default="the usual one to report"),
]
LimitOpt = Annotated[
    int | None, typer.Option("--limit", min=1, help="Use at most this many samples of a data set.")
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
    str | None,
    typer.Option(
        "--schedule",
        help="How tokens fall from stage to stage: uniform, gentle, geometric, steep, a tilt "
        "(0 is uniform, 1 geometric), published, or nominal.",
        show_default="the method's",
    ),
]
MergeOpt = Annotated[
    float,
    typer.Option("--merge", help="Merged tokens of a stage, as a fraction of the visual tokens."),
]
LayersOpt = Annotated[
    str | None,
    typer.Option(
        "--layers",
        help="Where to prune: planned, own (the method's published layers), equal (equal depths), "
        "or layers as 3,11,15.",
        show_default="planned, or the method's own",
    ),
]
MethodOptionOpt = Annotated[
    list[str] | None,
    typer.Option("--option", help="An option of the method, as seeds=even; may be repeated."),
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


def layer_numbers(text: str) -> tuple[int, ...]:
    """`"3, 11"` as layers. Raises SwiftprofError."""
    parts = split_list(text.replace("+", ","))
    if not parts or not all(part.isascii() and part.isdecimal() for part in parts):
        raise SwiftprofError(f"--layers {text}: must be layer numbers with commas, as 3,11,15")
    return tuple(int(part) for part in parts)


def numbers(option: str, text: str | None) -> list[float]:
    """`"192, 128"` or `"1/3"` as numbers; empty for None. Raises SwiftprofError."""
    found = []
    try:
        for part in split_list(text or ""):
            above, sign, below = part.partition("/")
            found.append(float(above) / float(below) if sign else float(above))
        return found
    except (ValueError, ZeroDivisionError):
        raise SwiftprofError(f"{option} {text}: must be numbers with commas, as 192,128") from None


def option_values(given: list[str] | None) -> dict[str, object]:
    """`["seeds=even", "rope=false"]` as values: true, false, whole numbers, numbers or words."""
    values: dict[str, object] = {}
    for each in given or ():
        name, sign, text = each.partition("=")
        if not sign or not name:
            raise SwiftprofError(f"--option {each}: must be name=value, as seeds=even")
        values[name] = read_value(text)
    return values


_PANEL = "How the model is loaded"


def _option(*names: str, **facts: Any) -> Any:
    return typer.Option(*names, rich_help_panel=_PANEL, **facts)


@dataclass(frozen=True)
class LoadOptions:
    """Which model a command runs, and how it is loaded: the options of every such command.

    A command asks for them with `@grouped()` and a parameter `load: LoadOptions`.
    """

    model: ModelOpt = None
    revision: Annotated[
        str | None,
        _option(
            "--revision",
            help="Commit, tag or branch on the hub.",
            show_default="the alias's, or main",
        ),
    ] = None
    device: Annotated[
        str, _option("--device", help="cpu, cuda, cuda:1 …; auto takes a GPU if there is one.")
    ] = "auto"
    device_map: Annotated[
        str | None,
        _option("--device-map", help="auto spreads the layers over GPUs and CPU (accelerate)."),
    ] = None
    dtype: Annotated[str, _option("--dtype", help="auto, float32, bfloat16 or float16.")] = "auto"
    attn: Annotated[
        str | None,
        _option(
            "--attn", help="sdpa, eager or flash_attention_2.", show_default="transformers' choice"
        ),
    ] = None
    load_in_8bit: Annotated[
        bool, _option("--load-in-8bit", help="Weights in 8 bits (bitsandbytes).")
    ] = False
    load_in_4bit: Annotated[
        bool, _option("--load-in-4bit", help="Weights in 4 bits (bitsandbytes).")
    ] = False
    model_arg: Annotated[
        list[str] | None,
        _option(
            "--model-arg",
            help="name=value for from_pretrained, or processor.name=value; again for more.",
        ),
    ] = None
    trust_remote_code: Annotated[
        bool, _option("--trust-remote-code", help="Let the checkpoint bring its own code.")
    ] = False
    ignore_memory: Annotated[
        bool, _option("--ignore-memory", help="Load even if memory seems too small.")
    ] = False


def grouped(**defaults: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take whole groups of options.

    A parameter whose type is a frozen dataclass, as `load: LoadOptions`, stands for the options
    that are its fields; the command gets them as one value.

    Args:
        defaults: of single fields, where a command's differ from the group's.
    """

    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command, eval_str=True)
        groups: dict[str, Any] = {}
        options: list[inspect.Parameter] = []
        for each in signature.parameters.values():
            if is_dataclass(each.annotation):
                groups[each.name] = each.annotation
                options += _fields(each.annotation, defaults)
            else:
                options.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        @wraps(command)
        def with_options(**given: Any) -> Any:
            made = {
                name: group(**{f.name: given.pop(f.name) for f in fields(group)})
                for name, group in groups.items()
            }
            return command(**made, **given)

        del with_options.__wrapped__  # typer is to read the signature given here
        with_options.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=options
        )
        with_options.__annotations__ = {p.name: p.annotation for p in options}
        return with_options

    return wrap


def _fields(group: Any, defaults: Mapping[str, Any]) -> list[inspect.Parameter]:
    """A group's options as parameters."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(each.name, each.default),
            annotation=hints[each.name],
        )
        for each in fields(group)
    ]
