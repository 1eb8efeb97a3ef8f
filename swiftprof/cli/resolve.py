"""Which model and which data a command is about: the one rule.

A plan or a profile brings its model and its data sets; `--model` and `--datasets` override. Without
any of them it is the bundled model on its own data sets. What does not fit together is refused,
with both names, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from swiftprof.cli.misplaced import hinting
from swiftprof.cli.options import DataOptions, LoadOptions
from swiftprof.cli.output import Output
from swiftprof.cli.values import split_list
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.hub import is_shared

if TYPE_CHECKING:
    from swiftprof.data.base import Dataset
    from swiftprof.models.conventions import PromptStyle
    from swiftprof.models.loading import VLM
    from swiftprof.models.registry import ModelSource
    from swiftprof.planning.plan_file import ModelInfo, Plan
    from swiftprof.profiling.store import Profile


PLAN = "plan.json"
"""Where plans are written and looked for by default."""


@dataclass(frozen=True)
class Chosen:
    """What a command is about.

    Attributes:
        load: how the model is loaded; its name and revision are filled in.
        source: where the model comes from.
        origin: the plan's or profile's path, where one brought model or data.
        made_for: the model that it was made for.
        names: data sets, or files of the user's own.
        data: the options on data.
    """

    load: LoadOptions
    source: ModelSource
    origin: str
    made_for: ModelInfo | None
    names: tuple[str, ...]
    data: DataOptions

    def datasets(self) -> list[Dataset]:
        """The data sets. Raises SwiftprofError: none, unknown, or not to be read."""
        from swiftprof.data.registry import get_datasets

        if not self.names:
            of = f"{self.origin} brings" if self.origin else f"{self.source.name} has"
            raise BadParameter(
                "datasets",
                None,
                f"{of} no data sets of its own; name some, as refcoco,textvqa, or a .jsonl or "
                ".parquet file (swiftprof datasets lists what there is)",
            )
        return get_datasets(self.names, self.data.data_root)

    def loader(self) -> Callable[[], VLM]:
        """A function that loads the model, here or in another process."""
        from swiftprof.models.conventions import check_prompt_style
        from swiftprof.models.settings import parse_model_args

        style = check_prompt_style(self.data.prompt_style)
        arguments = vars(self.load) | {"model_args": parse_model_args(self.load.model_arg or ())}
        del arguments["model_arg"]
        return partial(_load, arguments.pop("model"), style, arguments)

    def load_model(self, output: Output) -> VLM:
        """Load the model, said on stderr; refuses one that plan or profile does not fit."""
        from swiftprof.models.settings import LoadSettings

        load = self.loader()
        settings = {k: v for k, v in vars(self.load).items() if k in ("dtype", "device", "attn")}
        LoadSettings(**settings).checked()  # a slip is told before anything slow
        output.note(f"loading {self.source.name} …")
        vlm = load()
        if self.made_for is not None and vlm.num_layers != self.made_for.num_layers:
            raise _misfit(self.origin, self.made_for, vlm.name, vlm.num_layers)
        return vlm


def resolve(
    load: LoadOptions,
    data: DataOptions | None = None,
    *,
    plan: tuple[str, Plan] | None = None,
    profile: Profile | None = None,
) -> Chosen:
    """Model and data of a command, by the rule of this module.

    Args:
        plan: where a plan was read, and the plan.
        profile: a profile, instead.

    Raises:
        SwiftprofError: unknown names, or a model that the plan or profile was not made for.
    """
    from swiftprof.data.registry import BUNDLED
    from swiftprof.models.registry import BUNDLED_MODEL, find_model

    data = data or DataOptions()
    origin, info, brought = _record(plan, profile)
    if load.model is not None or info is None:
        load = replace(load, model=load.model or BUNDLED_MODEL)
        with hinting(str(load.model), "model", "hub id"):
            source = find_model(str(load.model))
        if info is not None:
            _check_fit(origin, info, source)
    else:
        load = _as_recorded(load, info)
        source = _find(origin, info, str(load.model))
    if data.datasets is not None:
        from swiftprof.data.own.naming import with_columns

        names = tuple(with_columns(split_list(data.datasets), data.columns))
        if not names:
            raise BadParameter("datasets", None, "no name given; see swiftprof datasets")
    else:
        names = brought or (tuple(BUNDLED) if source.bundled else ())
    return Chosen(load, source, origin, info, names, data)


def _record(
    plan: tuple[str, Plan] | None, profile: Profile | None
) -> tuple[str, ModelInfo | None, tuple[str, ...]]:
    """Where the plan or profile lies, its model, and what names its data sets again."""
    if plan is not None:
        path, made = plan
        again = made.source.given
        return path, made.model, tuple(again.get(name, name) for name in made.source.datasets)
    if profile is not None:
        return str(profile.path), profile.model, tuple(profile.summary.settings.again())
    return "", None, ()


def _as_recorded(load: LoadOptions, info: ModelInfo) -> LoadOptions:
    from swiftprof.models.registry import known_models

    if info.name in known_models():
        return replace(load, model=info.name)
    return replace(load, model=info.id or info.name, revision=load.revision or info.revision)


def _find(origin: str, info: ModelInfo, name: str) -> ModelSource:
    from swiftprof.models.registry import find_model

    try:
        return find_model(name)
    except SwiftprofError:
        raise SwiftprofError(
            f"{origin}: is for the model {info.name} ({name}), which is not here; "
            "say where it is with `model`"
        ) from None


def _check_fit(origin: str, info: ModelInfo, source: ModelSource) -> None:
    """Refuse another model than a plan or profile was made for, as far as its name tells.

    Copies and fine-tunings go by names of their own: of them only the depth is compared.
    """
    from swiftprof.models.known import known_model
    from swiftprof.models.registry import known_models

    known = known_models()
    try:
        depth: int | None = known_model(
            source.name if source.bundled else source.id
        ).shape.num_layers
    except SwiftprofError:
        depth = None  # its configuration is still to be fetched; compared once it is loaded
    other = info.name in known and source.name in known and info.name != source.name
    if other or (depth is not None and depth != info.num_layers):
        raise _misfit(origin, info, source.name, depth)


def _misfit(origin: str, info: ModelInfo, name: str, depth: int | None) -> SwiftprofError:
    has = "" if depth is None else f" with {depth} layers"
    return SwiftprofError(
        f"{origin}: is for {info.name} with {info.num_layers} layers, not for {name}{has}; leave "
        f"`model` out, or profile {name} and plan again"
    )


def _load(name: str, style: PromptStyle | None, arguments: Mapping[str, Any]) -> VLM:
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    from swiftprof.models.loading import load

    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    vlm = load(name, **arguments)
    return vlm if style is None else replace(vlm, prompt_style=style)


def read_plan(reference: str | None, model: str | None = None) -> tuple[str, Plan]:
    """A plan and where it was read, as `resolve` takes it.

    Args:
        reference: a file, or a model whose plan is shipped; None for plan.json in the working
            directory, else the shipped plan of `model`.

    Raises:
        SwiftprofError: no such plan, or its method is not known here.
    """
    from swiftprof.methods import create
    from swiftprof.models.registry import BUNDLED_MODEL
    from swiftprof.planning.plan_file import Plan
    from swiftprof.planning.shipped import shipped_plans

    if reference is None:
        reference = PLAN if Path(PLAN).exists() else model or BUNDLED_MODEL
        if reference != PLAN and reference not in shipped_plans():
            raise SwiftprofError(
                f"{PLAN}: no such plan file, and no plan is shipped for {reference}; make one with "
                "swiftprof profile and plan, or name one with `plan`"
            )
    with hinting(reference, "plan"):
        made = Plan.load(reference)
    try:
        create(made.method, made.options)
    except SwiftprofError as error:
        raise SwiftprofError(f"{reference}: {error}") from None
    return reference, made


def read_profile(reference: str | None, model: str | None = None) -> Profile:
    """A profile: the one that was named, else the newest (of a model).

    Raises:
        SwiftprofError: no such profile.
    """
    from swiftprof.profiling.store import Profile

    if reference is None:
        if (found := newest_profile(model)) is None:
            raise SwiftprofError(
                "no finished profile under profiles/; make one with swiftprof profile, or name its "
                "folder: swiftprof plan FOLDER"
            )
        return found
    if is_shared(reference):
        why = (
            "holds a plan and a curve, no samples; give it with `plan`, or as swiftprof plan hf://…"
        )
        raise BadParameter("profile", reference, why)
    with hinting(reference, "profile"):
        return Profile.load(reference)


def newest_profile(model: str | None) -> Profile | None:
    """A model's newest profile; None where there is none."""
    from swiftprof.models.registry import find_model
    from swiftprof.profiling.store import find_newest

    return find_newest(model=None if model is None else find_model(model).name)


PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
"""Endings of files that a picture can be drawn into."""


def check_out(
    path: Path | None,
    parameter: str = "out",
    *,
    folder: bool = False,
    suffixes: tuple[str, ...] = (),
) -> None:
    """Refuse a path that cannot be written, before the work. Raises SwiftprofError."""
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        raise BadParameter(parameter, path, f"must end in {', '.join(suffixes)}")
    if not folder and (path.is_dir() or not path.name):
        raise BadParameter(parameter, f"{str(path)!r}", "is a folder; give the path of a file")
    if folder and path.exists() and not path.is_dir():
        raise BadParameter(parameter, path, "is a file; give a folder")
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        with TemporaryFile(dir=there if there.is_dir() else there.parent):
            if there.is_file() and there != path:
                raise NotADirectoryError(f"{there} is a file")
    except OSError as error:
        why = error.strerror or error
        raise BadParameter(parameter, path, f"cannot be written ({why}); choose another") from None
