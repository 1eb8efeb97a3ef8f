"""What a method that prunes image features needs from the vision tower: its CLS attention.

The tower runs as it always does; hooks note the input of one attention module and the layer's
output, from which the CLS token's attention row and the keys are computed. Nothing is changed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from swiftprof.errors import SwiftprofError
from swiftprof.methods.view import Vision
from swiftprof.runtime.decoder import Decoder
from swiftprof.runtime.structure import NotCopied


@dataclass(frozen=True)
class Tower:
    """The parts of a CLIP tower and its projector.

    Attributes:
        layer: the encoder layer whose output the decoder gets.
        attention: its attention module.
        projector: maps features to embeddings.
    """

    layer: nn.Module
    attention: nn.Module
    projector: nn.Module


def locate_tower(decoder: Decoder) -> Tower:
    """Find the vision tower of a model whose images become one visual token per patch.

    Raises:
        SwiftprofError: the tower has no CLS token, or images do not become its patches one to one.
    """
    model, root = decoder.model, cast(Any, decoder.root)
    name, config = type(model).__name__, cast(Any, model).config
    tower, projector = (getattr(root, n, None) for n in ("vision_tower", "multi_modal_projector"))
    holder = next(
        (m for m in (tower.modules() if tower is not None else ()) if hasattr(m, "encoder")), None
    )
    has_cls = tower is not None and any(hasattr(m, "class_embedding") for m in tower.modules())
    if holder is None or projector is None or not has_cls:
        raise SwiftprofError(
            f"method 'visionzip' ranks patches by a CLS token's attention, and the vision tower of "
            f"{name} has none: choose another method"
        )
    number = getattr(config, "vision_feature_layer", None)
    if getattr(config, "model_type", "") != "llava" or not isinstance(number, int):
        raise SwiftprofError(
            f"method 'visionzip' is defined here for models of the LLaVA-1.5 kind, whose images "
            f"are one grid of patches from one layer; {name} cuts images into crops or mixes "
            "layers: choose another method"
        )
    if getattr(config, "vision_feature_select_strategy", "default") != "default":
        raise SwiftprofError(
            "method 'visionzip' adds the CLS token itself, but this model's "
            "vision_feature_select_strategy keeps it among the visual tokens: choose another method"
        )
    layers = cast(Any, holder).encoder.layers
    # Hidden states number from the embeddings on, so n is the output of the n-th layer.
    layer = layers[number if number < 0 else number - 1]
    return Tower(layer, layer.self_attn, projector)


class VisionTap(NotCopied):
    """Hooks on a vision tower. What they saw belongs to the thread that ran it."""

    def __init__(self, decoder: Decoder) -> None:
        self._tower = locate_tower(decoder)
        self._seen = threading.local()

    def attach(self) -> list[RemovableHandle]:
        """Install the hooks; the caller removes them."""
        tower = self._tower
        return [
            tower.attention.register_forward_pre_hook(self._before_attention, with_kwargs=True),
            tower.layer.register_forward_hook(self._after_layer),
        ]

    def clear(self) -> None:
        """Forget what was seen."""
        self._seen.parts = None

    def rows(self, n_visual: tuple[int, ...]) -> Vision:
        """What was seen, one image for each row of a prefill.

        `generate` may run the tower once and expand its features to beams, so that there are
        several rows for each image.

        Args:
            n_visual: visual tokens of each row.

        Raises:
            SwiftprofError: rows with more than one image, or no tower has run.
        """
        parts: tuple[Tensor, Tensor, Tensor] | None = getattr(self._seen, "parts", None)
        with_image = [n > 0 for n in n_visual]
        if parts is None:
            raise SwiftprofError(
                "method 'visionzip' needs the vision tower to run in this call: pass pixel_values"
            )
        images, patches = parts[0].shape
        if any(n not in (0, patches) for n in n_visual) or sum(with_image) % images:
            found = ", ".join(map(str, sorted(set(n_visual))))
            raise SwiftprofError(
                "method 'visionzip' takes prompts with one image each; this batch has rows of "
                f"{found} visual tokens and images of {patches}"
            )
        times, place, number = sum(with_image) // images, [], 0
        for some in with_image:
            place.append(number // times)
            number += some
        index = torch.tensor([min(p, images - 1) for p in place], device=parts[0].device)
        attention, keys, features = (part[index] for part in parts)
        return Vision(attention, keys, features[:, 1:], features[:, 0], self._tower.projector)

    def _before_attention(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        attention = cast(Any, module)
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        heads, dim = attention.num_heads, attention.head_dim
        query = attention.q_proj(hidden[:, 0]).unflatten(-1, (heads, dim)).float()
        keys = attention.k_proj(hidden).unflatten(-1, (heads, dim)).transpose(1, 2).float()
        logits = (query[:, :, None] @ keys.transpose(-1, -2))[:, :, 0] * attention.scale
        row = torch.softmax(logits, dim=-1).mean(1)
        self._seen.partial = (row[:, 1:], keys.mean(1)[:, 1:])

    def _after_layer(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        features: Tensor = output[0] if isinstance(output, tuple) else output
        self._seen.parts = (*self._seen.partial, features)
