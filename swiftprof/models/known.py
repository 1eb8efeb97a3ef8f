"""Decoder shapes by model name, without loading weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swiftprof.costs.flops import PAPER_TEXT_TOKENS, DecoderShape
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.files import read_json_object
from swiftprof.models.registry import ModelSource, find_family, find_model, known_models


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
