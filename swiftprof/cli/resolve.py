"""Which model and which data a command is about: the one rule.

A plan or a profile brings its model and its data sets; `--model` and `--datasets` override. Without
any of them it is the bundled model on its own data sets. What does not fit together is refused,
with both names, before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftprof.cli.options import DataOptions, LoadOptions, split_list
from swiftprof.cli.output import Output
from swiftprof.errors import BadParameter, SwiftprofError

if TYPE_CHECKING:
    from swiftprof.data.base import Dataset
    from swiftprof.models.conventions import PromptStyle
    from swiftprof.models.loading import VLM
    from swiftprof.models.registry import ModelInfo, ModelSource
    from swiftprof.planning.plan_file import Plan
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
        from swiftprof.models.settings import parse_model_args

        arguments = vars(self.load) | {"model_args": parse_model_args(self.load.model_arg or ())}
        del arguments["model_arg"]
        return partial(_load, arguments.pop("model"), self.data.prompt_style, arguments)

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
    if load.model is None and info is not None:
        load, source = _as_recorded(load, origin, info)
    else:
        load = replace(load, model=load.model or BUNDLED_MODEL)
        with hinting(str(load.model), "model", "hub id"):
            source = find_model(str(load.model))
        if info is not None:
            _check_fit(origin, info, source)
    if data.datasets is not None:
        names = tuple(split_list(data.datasets))
        if data.columns is not None:
            from swiftprof.data.own.naming import with_columns

            names = tuple(with_columns(names, data.columns))
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


def _as_recorded(
    load: LoadOptions, origin: str, info: ModelInfo
) -> tuple[LoadOptions, ModelSource]:
    """The model that a plan or profile was made for."""
    from swiftprof.models.registry import find_model, known_models

    if info.name in known_models():
        load = replace(load, model=info.name)
    else:
        load = replace(load, model=info.id or info.name, revision=load.revision or info.revision)
    try:
        return load, find_model(str(load.model))
    except SwiftprofError:
        raise SwiftprofError(
            f"{origin}: is for the model {info.name} ({load.model}), which is not here; say where "
            "it is with `model`"
        ) from None


def _check_fit(origin: str, info: ModelInfo, source: ModelSource) -> None:
    """Refuse another model than a plan or profile was made for, as far as its name tells.

    Copies and fine-tunings go by names of their own: of them only the depth is compared.
    """
    from swiftprof.models.registry import known_model, known_models

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
    from swiftprof.planning.plan_file import Plan, shipped_plans

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
    from swiftprof.hub import is_shared
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


_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_BELONGS = {
    "address": "a web address, and nothing is downloaded from there: save it and give the file",
    "plan": "a plan: give it with `plan`",
    "profile": "a profile folder: give it with `profile`, or as swiftprof plan FOLDER",
    "data": "a data file: give it with `datasets`",
    "picture": "a picture: give it with `image`",
    "model": "a model's folder: give it with `model`",
    "hub id": "perhaps a model's id on the hub, which goes with `model`; a plan or profile that "
    "somebody shared is named hf://owner/name",
}
_DATA, _PICTURES = (".csv", ".tsv", ".jsonl", ".parquet"), (".png", ".jpg", ".jpeg", ".webp")


def kind_of(text: str) -> str | None:
    """What a text names, by its form and by what lies there: a key of `_BELONGS`, or None."""
    path, suffix = Path(text), Path(text).suffix.lower()
    if re.match(r"https?:/", text):
        return "address"
    if suffix in _DATA:
        return "data"
    if suffix in _PICTURES:
        return "picture"
    if path.is_dir():
        if (path / "profile.json").is_file() or (path / "run.json").is_file():
            return "profile"
        return "model" if (path / "config.json").is_file() else None
    if suffix == ".json":
        return "plan"
    return "hub id" if _HUB_ID.fullmatch(text) and not path.exists() else None


@contextmanager
def hinting(text: str, *wanted: str) -> Iterator[None]:
    """Replace a complaint about `text` where it is plainly something else than `wanted`."""
    try:
        yield
    except SwiftprofError:
        hint = told(text, *wanted)
        if hint is None:
            raise
        raise SwiftprofError(f"{text}: {hint}") from None


def told(text: str, *wanted: str) -> str | None:
    """The end of a message about `text`, where it is plainly something else than `wanted`.

    Examples:
        >>> told("plan.json", "profile")
        'this looks like a plan: give it with `plan`'
    """
    kind = kind_of(text)
    return None if kind is None or kind in wanted else f"this looks like {_BELONGS[kind]}"
