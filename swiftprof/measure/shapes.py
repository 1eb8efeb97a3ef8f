"""Decoder shapes by model name, without loading weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object
from swiftprof.measure.flops import PAPER_TEXT_TOKENS, DecoderShape
from swiftprof.models.registry import ALIASES, find_model

__all__ = ["KnownModel", "known_model"]


@dataclass(frozen=True)
class KnownModel:
    """What a cost estimate needs to know of a model.

    Attributes:
        name: short name.
        id: hub id or folder.
        shape: its decoder.
        visual_tokens: of one image; None where that depends on the image.
        text_tokens: tokens beside them that stand for a usual prompt.
    """

    name: str
    id: str
    shape: DecoderShape
    visual_tokens: int | None
    text_tokens: int = PAPER_TEXT_TOKENS


_LLAVA_7B = DecoderShape(32, 4096, 11008, 32, 32, 128)
_LLAVA_13B = DecoderShape(40, 5120, 13824, 40, 40, 128)

_HUB: Mapping[str, tuple[DecoderShape, int]] = {
    "llava-hf/llava-1.5-7b-hf": (_LLAVA_7B, 576),
    "llava-hf/llava-1.5-13b-hf": (_LLAVA_13B, 576),
    "llava-hf/llava-v1.6-vicuna-7b-hf": (_LLAVA_7B, 2880),
    "llava-hf/llava-v1.6-vicuna-13b-hf": (_LLAVA_13B, 2880),
}
"""Hub id -> decoder and visual tokens of one image, from the models' published configurations.

LLaVA-NeXT's number varies with the image; 2880 (five crops of 576) is the nominal one of tables.
"""

_BUNDLED_TEXT_TOKENS = 10
"""The mean over the bundled model's own data sets, whose tokens are whole words."""

_LLAMA_DEFAULTS = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
}
"""`config.json` leaves out what equals transformers' LlamaConfig."""


def known_model(name: str) -> KnownModel:
    """Resolve an alias, a hub id in the table, or a folder with a `config.json`.

    Raises:
        SwiftprofError: unknown name, or a configuration that lacks what is needed.
    """
    source = find_model(name)
    if source.id in _HUB:
        shape, visual = _HUB[source.id]
        return KnownModel(source.name, source.id, shape, visual)
    folder = Path(source.location)
    if not folder.is_dir():
        raise SwiftprofError(
            f"--model {name}: its configuration is not here, and this command downloads nothing; "
            "give a folder with its config.json, or one of "
            + ", ".join(alias for alias, each in ALIASES.items() if each.id in _HUB)
        )
    path = folder / "config.json"
    config = read_json_object(path, "configuration")
    text = _BUNDLED_TEXT_TOKENS if source.bundled else PAPER_TEXT_TOKENS
    return KnownModel(source.name, source.id, _decoder(path, config), _visual_tokens(config), text)


def _decoder(path: Path, config: Mapping[str, Any]) -> DecoderShape:
    text = config.get("text_config", config)
    if not isinstance(text, Mapping):
        raise SwiftprofError(f"{path}: text_config: must be an object with the decoder's sizes")
    llama = text.get("model_type", "llama") == "llama"

    def size(name: str, default: int | None = None) -> int:
        value = text.get(name)
        if value is None:
            value = default if default is not None else _LLAMA_DEFAULTS.get(name) if llama else None
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


def _visual_tokens(config: Mapping[str, Any]) -> int | None:
    """Patches of one image for models of LLaVA's kind; others vary with the image."""
    vision = config.get("vision_config")
    if config.get("model_type") not in ("llava", "vipllava") or not isinstance(vision, Mapping):
        return None
    image, patch = vision.get("image_size"), vision.get("patch_size")
    if not isinstance(image, int) or not isinstance(patch, int) or patch < 1:
        return None
    whole = config.get("vision_feature_select_strategy", "default") == "full"
    return (image // patch) ** 2 + int(whole)
