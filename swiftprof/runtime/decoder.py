"""Where things are in a Hugging Face model: the only file of the runtime that knows.

A family says where its decoder is (`swiftprof.models.families`); models of no known family are
taken to be built like the others: a text model with `layers`, layers with `input_layernorm` and
`self_attn.q_proj` / `k_proj`, rotary tables handed down as `position_embeddings`. A model built
differently is refused, with the reason, rather than pruned wrongly (see
`swiftprof.runtime.structure`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

from torch import nn

from swiftprof.core.masks import mask_kind
from swiftprof.errors import SwiftprofError
from swiftprof.models.family import Family
from swiftprof.models.registry import find_family
from swiftprof.runtime.structure import changed, check_structure

_REFUSED = {
    "gemma3": "its image tokens see each other in both directions, its layers mix two attentions",
    "gemma3n": "its image tokens see each other in both directions, its layers mix two attentions",
    "paligemma": "its prompt tokens see each other in both directions",
    "mllama": "its image features enter through cross-attention, not as tokens",
}


@dataclass(frozen=True)
class Decoder:
    """The parts of a model that the runtime touches.

    Attributes:
        root: the module whose forward receives `input_ids` and calls the text model.
        text: the text model; owns `layers` and the final norm.
        layers: the decoder layers.
        visual_ids: token ids that stand for an image or video feature.
        first_cut: smallest 0-based layer index before which tokens may leave.
        model: the model as it was given.
        head: the module around the root, which turns hidden states into logits; None for a model
            without.
        known: its family is one of those that swiftprof knows.
        picture: visual tokens of every image, a square; None where that depends on the image.
        rotary: the rotary embedding: hidden states, position ids → cos and sin.
        norm: the norm behind the last layer.
    """

    root: nn.Module
    text: nn.Module
    layers: Sequence[nn.Module]
    visual_ids: tuple[int, ...]
    first_cut: int
    model: nn.Module
    head: nn.Module | None
    known: bool
    picture: int | None
    rotary: nn.Module
    norm: nn.Module

    @property
    def config(self) -> Any:
        """Configuration of the text model."""
        return self.text.config

    @property
    def mask_kind(self) -> str:
        """Form of attention mask that the current backend takes.

        Raises:
            SwiftprofError: the backend is not supported.
        """
        backend = str(self.config._attn_implementation)
        kind = mask_kind(backend)
        if kind is None:
            raise SwiftprofError(
                f"attention backend '{backend}' cannot be pruned: call "
                "model.set_attn_implementation with 'sdpa', 'flash_attention_2' or 'eager'"
            )
        return kind

    @property
    def mrope(self) -> bool:
        """Whether positions have three dimensions: time, height and width."""
        return "mrope_section" in (getattr(self.config, "rope_parameters", None) or {})

    @property
    def sliding_window(self) -> int | None:
        """Window of the layers with sliding attention, None when every layer sees everything."""
        config = self.config
        window = getattr(config, "sliding_window", None)
        if window is None or getattr(config, "use_sliding_window", True) is False:
            return None
        kinds = getattr(config, "layer_types", None)
        return None if kinds and "sliding_attention" not in kinds else int(window)


def _refuse_kind(model: nn.Module) -> None:
    config = getattr(model, "config", None)
    kind = str(getattr(config, "model_type", ""))
    text = str(getattr(getattr(config, "text_config", None), "model_type", ""))
    for name in (each.removesuffix("_text") for each in (kind, text)):
        if name in _REFUSED:
            raise SwiftprofError(f"models of type '{name}' cannot be pruned: {_REFUSED[name]}")
    if getattr(config, "is_encoder_decoder", False):
        raise SwiftprofError(
            f"models of type '{kind}' cannot be pruned: encoder-decoder models are not supported"
        )
    if (getattr(model, "_tp_size", None) or 1) > 1:
        raise SwiftprofError(
            "a model split by tensor parallelism cannot be pruned: load it without tp_plan"
        )


def locate(model: nn.Module) -> Decoder:
    """Find the decoder of a model.

    Args:
        model: a `...ForConditionalGeneration`, the model inside it that has no head, or a wrapper
            that passes `get_decoder` on (PEFT).

    Raises:
        SwiftprofError: the model is not supported; the message says why.
    """
    _refuse_kind(model)
    name = type(model).__name__
    if not hasattr(model, "get_decoder"):
        raise SwiftprofError(
            f"{name} has no get_decoder(): give a transformers vision-language model"
        )
    text = cast(Any, model).get_decoder()
    text = getattr(text, "language_model", text)
    config = getattr(model, "config", None)
    known = find_family(str(getattr(config, "model_type", "")))
    if known is not None:
        place = next((path for path, module in model.named_modules() if module is text), "")
        # A wrapper stands further out, a model without a head further in.
        inside, outside = f".{known.decoder}", f".{place}"
        if not (outside.endswith(inside) or (place and inside.endswith(outside))):
            raise changed(name, f"the decoder is at '{place}', not at '{known.decoder}'")
    family = known or _UNKNOWN
    layers, rotary, norm = (
        _part(text, path, name) for path in (family.layers, family.rotary, family.norm)
    )
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        raise SwiftprofError(
            f"{name} cannot be pruned: its text model {type(text).__name__} has no list of layers"
        )
    layers = layers[: getattr(text.config, "num_hidden_layers", len(layers))]
    root = _parent(model, text)
    ids = {getattr(config, key, None) for key in family.visual_ids} - {None}
    if root is None or not ids:
        raise SwiftprofError(
            f"{name} cannot be pruned: its config has no image_token_id; "
            "give a vision-language model"
        )
    first_cut = family.vision_layers(config)
    check_structure(name, text, tuple(layers), deepstack=first_cut > 0)
    return Decoder(
        root=root,
        text=text,
        layers=tuple(layers),
        visual_ids=tuple(sorted(cast("set[int]", ids))),
        first_cut=first_cut,
        model=model,
        head=_parent(model, root),
        known=known is not None,
        picture=None if known is None else known.visual_tokens(config),
        rotary=rotary,
        norm=norm,
    )


_UNKNOWN = Family(
    name="unknown",
    title="a family that is not known",
    model_types=(),
    image_tokens=lambda config: 0,
    varies=True,
    counting="",
)


def _parent(model: nn.Module, child: nn.Module) -> nn.Module | None:
    return next((m for m in model.modules() if any(c is child for c in m.children())), None)


def _part(text: nn.Module, path: str, name: str) -> nn.Module:
    try:
        return text.get_submodule(path)
    except AttributeError:
        raise changed(name, f"its text model {type(text).__name__} has no '{path}'") from None


def check_call(decoder: Decoder, length: int) -> None:
    """Refuse a prefill that would be pruned wrongly.

    Args:
        decoder: the model's decoder.
        length: tokens in the sequence, L.

    Raises:
        SwiftprofError: training mode, chunked prefill, or a window shorter than the prompt.
    """
    if decoder.text.training:
        raise SwiftprofError("the model is in training mode: call model.eval() before pruning")
    own = getattr(decoder.model, "generation_config", None)
    if any(getattr(c, "prefill_chunk_size", None) is not None for c in (own, _generation())):
        raise SwiftprofError(
            "a prefill in chunks cannot be pruned, no chunk sees the whole prompt: "
            "leave prefill_chunk_size out, and set that of generation_config to None"
        )
    check_window(decoder, length)


def _generation() -> Any:
    """The settings of the generate() that is running, which hands a chunk over like a prompt."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "generate":
        frame = frame.f_back
    return None if frame is None else frame.f_locals.get("generation_config")


def check_window(decoder: Decoder, length: int) -> None:
    """Refuse a sequence longer than the window of a layer with sliding attention.

    Raises:
        SwiftprofError: the window is shorter than `length` tokens.
    """
    window = decoder.sliding_window
    if window is not None and window < length:
        raise SwiftprofError(
            f"sliding attention over {window} tokens is shorter than the sequence of {length}: "
            "shorten the prompt or the answer, or set the text config's sliding_window to None"
        )
