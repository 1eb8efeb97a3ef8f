"""Families and models: those that come with swiftprof, and those of installed plug-ins.

What is known of a model here needs none of its weights. A plug-in is a package with an entry point
in the group `swiftprof.models` that names a `Family`, or several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from swiftprof.costs.flops import PAPER_TEXT_TOKENS, DecoderShape
from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean
from swiftprof.files import read_json_object
from swiftprof.models.families import built_in, every_built_in
from swiftprof.models.family import Family
from swiftprof.plugins import PluginError, described, installed, read_entry_point

BUNDLED_MODEL = "tiny-llava"
PLAIN_MODEL = "tiny-llava-plain"
"""Bundled too: the same model before anything taught its layers where to look."""
GROUP = "swiftprof.models"
"""Entry points of this group add families: name → a `Family`, or a tuple of them."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        name: short name.
        id: a hub id, a local folder, or the bundled model's own name.
        revision: commit or branch on the hub; None for its main branch.
        bundled: comes with swiftprof.
        licence: of the weights; None where it is not known here.
        family: title of its family; None where only the configuration tells.
        shape: sizes of the decoder, where they are known without the configuration.
        nominal_tokens: visual tokens of one image, as in `Family`.
    """

    name: str
    id: str
    revision: str | None = None
    bundled: bool = False
    licence: str | None = None
    family: str | None = None
    shape: DecoderShape | None = None
    nominal_tokens: int | None = None

    @property
    def location(self) -> str:
        """What ``from_pretrained`` takes."""
        return str(bundled_folder(self.id)) if self.bundled else self.id

    @property
    def local(self) -> bool:
        """Whether it is a folder on this machine."""
        return self.bundled or Path(self.id).is_dir()


class ModelInfo(BaseModel):
    """The model a plan or profile is for; `visual_tokens` is null where prompts differ in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    id: str | None = None
    revision: str | None = None
    num_layers: Annotated[int, Field(strict=True, ge=1, le=4096)]
    visual_tokens: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = None


def _sources(members: Iterable[Family]) -> dict[str, ModelSource]:
    return {
        alias.name: ModelSource(
            alias.name,
            alias.id,
            alias.revision,
            licence=alias.licence,
            family=family.title,
            shape=alias.shape,
            nominal_tokens=family.nominal_tokens,
        )
        for family in members
        for alias in family.aliases
    }


BUNDLED: Mapping[str, ModelSource] = {
    name: ModelSource(name, name, bundled=True, licence="apache-2.0", family="LLaVA-1.5")
    for name in (BUNDLED_MODEL, PLAIN_MODEL)
}
"""The models that come with swiftprof."""


@dataclass(frozen=True)
class Plugins:
    """Families of other packages, and by entry point one line on each that cannot be used."""

    families: tuple[Family, ...]
    broken: Mapping[str, str]


@cache
def plugins() -> Plugins:
    """The families of installed plug-ins. A broken one spoils nothing but itself."""
    found: list[Family] = []
    broken: dict[str, str] = {}
    for point in installed(GROUP).values():
        try:
            given = read_entry_point(point, "family")
            several = given if isinstance(given, tuple) else (given,)
            where = described(point, "family")
            found += [_checked(family, (*every_built_in(), *found), where) for family in several]
        except SwiftprofError as error:
            broken[point.name] = str(error)
    return Plugins(tuple(found), broken)


def _checked(family: object, others: Iterable[Family], where: str) -> Family:
    if not isinstance(family, Family):
        kind = type(family).__name__
        raise PluginError(f"{where} is a {kind}, not a swiftprof.models.family.Family")
    for other in others:
        shared = set(family.model_types) & set(other.model_types)
        if shared or family.name == other.name:
            what = ", ".join(sorted(shared)) or family.name
            raise PluginError(f"{where}: {what} is taken by the family {other.name}")
    return family


def families() -> tuple[Family, ...]:
    """All families."""
    return (*every_built_in(), *plugins().families)


def find_family(model_type: str) -> Family | None:
    """The family of a configuration's `model_type`; None when no family has it."""
    if (own := built_in(model_type)) is not None:
        return own
    return next((each for each in plugins().families if model_type in each.model_types), None)


def supported() -> str:
    """The families in one line, for messages, with what is wrong with broken plug-ins."""
    text = ", ".join(f"{f.title} ({', '.join(f.model_types)})" for f in families())
    return "; ".join([text, *plugins().broken.values()])


@cache
def own_models() -> Mapping[str, ModelSource]:
    """Short names that come with swiftprof."""
    return {**BUNDLED, **_sources(every_built_in())}


def known_models() -> dict[str, ModelSource]:
    """All short names, those of plug-ins included."""
    return {**_sources(plugins().families), **own_models()}


def bundled_folder(name: str = BUNDLED_MODEL) -> Path:
    """The folder of a bundled model: an ordinary Hugging Face one."""
    return Path(str(files("swiftprof.tiny").joinpath("weights", name)))


def find_model(name: str) -> ModelSource:
    """Resolve an alias, a local folder with a ``config.json``, or a hub id ``owner/name``.

    Raises:
        SwiftprofError: none of these.
    """
    if name in BUNDLED:
        return BUNDLED[name]
    if name in own_models():
        return own_models()[name]
    folder = Path(name)
    if folder.is_dir():
        _check_folder(folder, name)
        return ModelSource(folder.resolve().name, str(folder))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        for source in known_models().values():
            if source.id == name:
                return source
        return ModelSource(name.split("/")[1], name)
    known = known_models()
    if name in known:
        return known[name]
    raise SwiftprofError(
        f"unknown model {name!r}: {did_you_mean(name, known)} "
        "(or give a hub id owner/name, or a folder)"
    )


def _check_folder(folder: Path, name: str) -> None:
    if (folder / "config.json").is_file():
        return
    if (folder / "adapter_config.json").is_file():
        raise SwiftprofError(
            f"{name}: holds an adapter without its base model; merge them (PEFT: merge_and_unload) "
            "and give the folder of the result"
        )
    raise SwiftprofError(
        f"{name}: no config.json in this folder; give the folder that save_pretrained wrote"
    )


@dataclass(frozen=True)
class KnownModel:
    """What a cost estimate needs to know of a model.

    Attributes:
        name: short name.
        id: hub id or folder.
        shape: its decoder.
        visual_tokens: of one image; where that depends on the image, the number that published
            tables count with, or None.
        text_tokens: tokens beside them that stand for a usual prompt.
    """

    name: str
    id: str
    shape: DecoderShape
    visual_tokens: int | None
    text_tokens: float = PAPER_TEXT_TOKENS

    @property
    def info(self) -> ModelInfo:
        """What a plan says of the model."""
        return ModelInfo(
            name=self.name,
            id=self.id,
            num_layers=self.shape.num_layers,
            visual_tokens=self.visual_tokens,
        )


_BUNDLED_TEXT_TOKENS = 10
"""The mean over the bundled model's own data sets, whose tokens are whole words."""


def known_model(name: str) -> KnownModel:
    """Resolve an alias, a folder with a `config.json`, or a hub id that is in the local cache.

    Raises:
        SwiftprofError: unknown name, or a configuration that transformers does not know, or that
            has no decoder.
    """
    source = find_model(name)
    text = _BUNDLED_TEXT_TOKENS if source.bundled else PAPER_TEXT_TOKENS
    if source.shape is not None:
        return KnownModel(source.name, source.id, source.shape, source.nominal_tokens, text)
    path = _config_path(source, name)
    kind = str(read_json_object(path, "configuration").get("model_type", ""))
    from transformers import AutoConfig  # fills in what the file leaves out

    try:
        config = AutoConfig.from_pretrained(path.parent)
        shape = DecoderShape.from_config(config.get_text_config())
    except (AttributeError, OSError, TypeError, ValueError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SwiftprofError(
            f"{path}: not a configuration with a decoder ({why}); give the folder of a "
            "vision-language model"
        ) from None
    family = find_family(kind)
    visual = family.visual_tokens(config) if family is not None else None
    return KnownModel(source.name, source.id, shape, visual, text)


def _config_path(source: ModelSource, name: str) -> Path:
    if source.local:
        return Path(source.location) / "config.json"
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source.id, "config.json", revision=source.revision)
    if isinstance(cached, str):
        return Path(cached)
    raise BadParameter(
        "model",
        name,
        "its configuration is not here, and this command downloads nothing; "
        "give a folder with its config.json, or one of " + ", ".join(known_models()),
    )
