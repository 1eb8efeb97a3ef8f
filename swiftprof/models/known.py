"""Decoder shapes by model name, without loading weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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
        vocabulary: size of the output layer, and
        vision_parameters: of the tower's layers; LLaVA-1.5's where no configuration is at hand.
    """

    name: str
    id: str
    shape: DecoderShape
    visual_tokens: int | None
    text_tokens: float = PAPER_TEXT_TOKENS
    vocabulary: int = 32064
    vision_parameters: int = 302_000_000


_BUNDLED_TEXT_TOKENS = 10
"""The mean over the bundled model's own data sets, whose tokens are whole words."""


def known_model(name: str) -> KnownModel:
    """Resolve an alias, a folder with a `config.json`, or a hub id that is in the local cache.

    Raises:
        SwiftprofError: unknown name, a family that is not supported, or a configuration that lacks
            what is needed.
    """
    source = find_model(name)
    text = _BUNDLED_TEXT_TOKENS if source.bundled else PAPER_TEXT_TOKENS
    if source.shape is not None:
        return KnownModel(source.name, source.id, source.shape, source.nominal_tokens, text)
    path = _config_path(source, name)
    config = read_json_object(path, "configuration")
    family = find_family(str(config.get("model_type", "")))
    visual = family.visual_tokens(config) if family is not None else None
    text_config, vision = (config.get(f"{part}_config") or {} for part in ("text", "vision"))
    defaults = KnownModel.vocabulary, KnownModel.vision_parameters
    return KnownModel(
        source.name,
        source.id,
        _decoder(path, config),
        visual,
        text,
        int(text_config.get("vocab_size") or config.get("vocab_size") or defaults[0]),
        _tower(vision) or defaults[1],
    )


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


def _decoder(path: Path, config: Mapping[str, Any]) -> DecoderShape:
    text = config.get("text_config", config)
    if not isinstance(text, Mapping):
        raise SwiftprofError(f"{path}: text_config: must be an object with the decoder's sizes")
    full = _Completed(text)

    def size(name: str, default: int | None = None) -> int:
        value = text.get(name)
        if value is None:
            value = full.get(name) or default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SwiftprofError(
                f"{path}: {name}: must be a whole number above 0 (got {value}); "
                "give the folder of a decoder-only vision-language model"
            )
        return value

    heads, hidden = size("num_attention_heads"), size("hidden_size")
    return DecoderShape(
        num_layers=size("num_hidden_layers"),
        hidden_size=hidden,
        intermediate_size=size("intermediate_size"),
        num_attention_heads=heads,
        num_key_value_heads=size("num_key_value_heads", heads),
        head_dim=size("head_dim", max(1, hidden // heads)),
    )


def _tower(vision: Mapping[str, Any]) -> int:
    """Parameters of a plain vision transformer's layers; 0 where its sizes are not all there."""
    layers, width, inner = (
        int(vision.get(name) or 0)
        for name in ("num_hidden_layers", "hidden_size", "intermediate_size")
    )
    return layers * (4 * width**2 + 2 * width * inner) if inner else 0


class _Completed:
    """A text configuration with what `config.json` leaves out: the defaults of its class."""

    def __init__(self, text: Mapping[str, Any]) -> None:
        self._text = text

    @cached_property
    def _config(self) -> Any:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        try:
            return CONFIG_MAPPING[str(self._text.get("model_type", "llama"))](**self._text)
        except (KeyError, TypeError, ValueError):
            return None

    def get(self, name: str) -> Any:
        return getattr(self._config, name, None)
