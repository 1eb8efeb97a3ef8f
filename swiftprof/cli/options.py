"""Options that several commands share: one name, one meaning, one help text each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_type_hints

import typer

from swiftprof.errors import BadParameter
from swiftprof.models.conventions import PromptStyle

if TYPE_CHECKING:
    from swiftprof.evaluation.specs import TargetText

Complete = Callable[[str], list[str]]


def complete_words(*known: str) -> Complete:
    """Completes one of some words."""
    return lambda incomplete: [each for each in known if each.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Short names of models."""
    from swiftprof.models.registry import known_models

    return complete_words(*known_models())(incomplete)


def complete_datasets(incomplete: str) -> list[str]:
    """Names of data sets, the last one of a list."""
    from swiftprof.data.registry import dataset_names

    return _last(incomplete, dataset_names())


def complete_methods(incomplete: str) -> list[str]:
    """Names of methods and presets, the last one of a list."""
    from swiftprof.methods import REGISTRY
    from swiftprof.planning.preset import PRESETS

    return _last(incomplete, [*REGISTRY, *PRESETS])


def _last(incomplete: str, known: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{each}" for each in complete_words(*known)(last)]


def split_list(text: str) -> list[str]:
    """`"a, b"` as `["a", "b"]`, each once, in order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def count_or_auto(parameter: str, text: str) -> int | None:
    """A whole number above 0; None for auto: the program chooses. Raises SwiftprofError."""
    if text == "auto":
        return None
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise BadParameter(parameter, text, "must be a whole number above 0, or auto")


def numbers(parameter: str, text: str | None) -> list[float]:
    """`"192, 128"` or `"1/3"` as numbers; empty for None. Raises SwiftprofError."""
    found = []
    try:
        for part in split_list(text or ""):
            above, sign, below = part.partition("/")
            found.append(float(above) / float(below) if sign else float(above))
    except (ValueError, ZeroDivisionError):
        raise BadParameter(parameter, text, "must be numbers, as 192 or 1/3") from None
    if text is not None and not found:
        raise BadParameter(parameter, None, "no number given, as in 192 or 1/3")
    return found


JsonOpt = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
]
ModelOpt = Annotated[
    str | None,
    typer.Option(
        help="Short name, Hugging Face id or local folder.",
        show_default="the plan's or profile's, else the bundled model",
        autocompletion=complete_models,
    ),
]
DatasetsOpt = Annotated[
    str | None,
    typer.Option(
        help="Data sets, or files and folders of your own, with commas.",
        show_default="the plan's or profile's, else the bundled ones",
        autocompletion=complete_datasets,
    ),
]
DataRootOpt = Annotated[
    Path | None,
    typer.Option(
        envvar="SWIFTPROF_DATA_ROOT",
        show_envvar=False,
        help="Folder with local copies of data sets and of COCO's train2014 (or set "
        "SWIFTPROF_DATA_ROOT).",
    ),
]
ProfileOpt = Annotated[
    str | None, typer.Option(help="A profile folder.", show_default="the model's newest")
]
SeedOpt = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
BatchSizeOpt = Annotated[
    str,
    typer.Option("--batch-size", help="Samples that run together; auto: as many as memory allows."),
]
BudgetOpt = Annotated[int, typer.Option(help="How many pruning layers, at most.")]
VisualTokensOpt = Annotated[int | None, typer.Option(min=1, help="Visual tokens of a prompt.")]


@dataclass(frozen=True)
class DataOptions:
    """Which samples a command asks about."""

    panel: ClassVar[str] = "Data"

    datasets: DatasetsOpt = None
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of data of your own, as question=q,answers=a,image=img."),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Samples of each data set, drawn once for all.", show_default="see above"
        ),
    ] = None
    split: Annotated[
        str | None, typer.Option(help="Split of the data sets.", show_default="each one's usual")
    ] = None
    data_root: DataRootOpt = None
    prompt_style: Annotated[
        PromptStyle | None,
        typer.Option(
            help="Wording of prompts; llava-eval is LLaVA-1.5's with its system prompt.",
            show_default="the model family's own",
        ),
    ] = None


@dataclass(frozen=True)
class BudgetOptions:
    """How many tokens are left. Each option takes several numbers, where the command does."""

    panel: ClassVar[str] = "Token budget (give at most one)"

    retain: Annotated[
        str | None, typer.Option(help="Visual tokens to retain, averaged over all layers.")
    ] = None
    ratio: Annotated[
        str | None,
        typer.Option(help="The same as a fraction of the prompt's visual tokens, as 1/3."),
    ] = None
    flops: Annotated[str | None, typer.Option(help="TFLOPs that the prefill may cost, in all.")] = (
        None
    )

    def targets(self, default: str | None = None) -> list[TargetText]:
        """The budgets that were given, as they were typed; ratios of `default` if none was.

        Raises:
            SwiftprofError: more than one kind of budget, or no numbers.
        """
        from swiftprof.evaluation.specs import target_text

        name, text = self._given() or ("ratio", default)
        typed = zip(split_list(text or ""), numbers(name, text), strict=True)
        return [target_text(name, *each) for each in typed]

    def one(self) -> dict[str, float]:
        """The one number that was given, by name; empty if none was. Raises SwiftprofError."""
        if (given := self._given()) is None:
            return {}
        values = numbers(*given)
        if len(values) > 1:
            raise BadParameter(*given, "give one number")
        return {given[0]: values[0]}

    def _given(self) -> tuple[str, str] | None:
        texts = [(name, text) for name, text in vars(self).items() if text is not None]
        if len(texts) > 1:
            raise BadParameter(" and ".join(dict(texts)), None, "give only one of them")
        return texts[0] if texts else None


@dataclass(frozen=True)
class LoadOptions:
    """Which model a command runs, and how it is loaded: the options of every such command.

    A command asks for them with `@grouped()` and a parameter `load: LoadOptions`.
    """

    panel: ClassVar[str] = "How the model is loaded"

    model: ModelOpt = None
    revision: Annotated[
        str | None,
        typer.Option(help="Commit, tag or branch on the hub.", show_default="the alias's, or main"),
    ] = None
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 …; auto takes a GPU if there is one.")
    ] = "auto"
    device_map: Annotated[
        str | None, typer.Option(help="auto spreads the layers over GPUs and CPU (accelerate).")
    ] = None
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto"
    attn: Annotated[
        str | None,
        typer.Option(help="sdpa, eager or flash_attention_2.", show_default="transformers' choice"),
    ] = None
    load_in_8bit: Annotated[
        bool, typer.Option("--load-in-8bit", help="Weights in 8 bits (bitsandbytes).")
    ] = False
    load_in_4bit: Annotated[
        bool, typer.Option("--load-in-4bit", help="Weights in 4 bits (bitsandbytes).")
    ] = False
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            help="name=value for from_pretrained, or processor.name=value; again for more."
        ),
    ] = None
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let the checkpoint bring its own code.")
    ] = False
    ignore_memory: Annotated[
        bool, typer.Option("--ignore-memory", help="Load even if memory seems too small.")
    ] = False


def grouped(**defaults: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take whole groups of options.

    A parameter whose type is a frozen dataclass, as `load: LoadOptions`, stands for the options
    that are its fields, in the panel that it names; the command gets them as one value.

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
    """A group's options as parameters, in the group's panel of the help."""
    hints = get_type_hints(group, include_extras=True)
    options = []
    for each in fields(group):
        kind, option = get_args(hints[each.name])
        if (panel := getattr(group, "panel", None)) and each.name != "model":
            option = copy(option)
            option.rich_help_panel = panel
        options.append(
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(each.name, each.default),
                annotation=Annotated[kind, option],
            )
        )
    return options
