"""What a method that prunes image features needs from the vision tower: attention inside it.

The tower runs as it always does; hooks note the input of one attention module and the layer's
output, from which the CLS token's attention row and the keys are computed, and of further layers
the attention that patches receive. Nothing is changed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from swiftprof.errors import SwiftprofError
from swiftprof.methods import name_of
from swiftprof.methods.base import Method
from swiftprof.methods.view import Vision
from swiftprof.runtime.decoder import Decoder
from swiftprof.runtime.structure import NotCopied

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


@dataclass(frozen=True)
class Tower:
    """The parts of a CLIP or SigLIP tower and its projector.

    Attributes:
        layer: the encoder layer whose output the decoder gets.
        attention: its attention module.
        projector: maps features to embeddings.
        layers: all encoder layers.
        has_cls: whether the first token is a CLS token.
    """

    layer: nn.Module
    attention: nn.Module
    projector: nn.Module
    layers: nn.ModuleList
    has_cls: bool


def locate_tower(decoder: Decoder, method: str, needs_cls: bool) -> Tower:
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
    if holder is None or projector is None or (needs_cls and not has_cls):
        what = "a CLS token's attention" if needs_cls else "attention inside the vision tower"
        raise SwiftprofError(
            f"method '{method}' ranks patches by {what}, and the vision tower of {name} has none "
            "that is known: choose another method"
        )
    number = getattr(config, "vision_feature_layer", None)
    if getattr(config, "model_type", "") != "llava" or not isinstance(number, int):
        raise SwiftprofError(
            f"method '{method}' is defined here for models of the LLaVA-1.5 kind, whose images "
            f"are one grid of patches from one layer; {name} cuts images into crops or mixes "
            "layers: choose another method"
        )
    if has_cls and getattr(config, "vision_feature_select_strategy", "default") != "default":
        raise SwiftprofError(
            f"method '{method}' takes visual tokens for patches, but this model's "
            "vision_feature_select_strategy keeps the CLS token among them: choose another method"
        )
    layers = cast(Any, holder).encoder.layers
    # Hidden states number from the embeddings on, so n is the output of the n-th layer.
    layer = layers[number if number < 0 else number - 1]
    return Tower(layer, layer.self_attn, projector, layers, has_cls)


class VisionTap(NotCopied):
    """Hooks on a vision tower. What they saw belongs to the thread that ran it."""

    def __init__(self, decoder: Decoder, method: Method) -> None:
        self._name = name_of(method)
        self._tower = tower = locate_tower(decoder, self._name, method.needs_cls)
        self._first = int(tower.has_cls)  # place of the first patch
        depth = len(tower.layers)
        layers = [max(1, round(share * depth)) - 1 for share in method.tower_depths]
        self._asked = [cast(Any, tower.layers[n]).self_attn for n in layers]
        self._asked += [tower.attention] if layers else []
        self._seen = threading.local()

    def attach(self) -> list[RemovableHandle]:
        """Install the hooks; the caller removes them."""
        tower = self._tower
        return [
            tower.attention.register_forward_pre_hook(self._before_attention, with_kwargs=True),
            tower.layer.register_forward_hook(self._after_layer),
            *(
                module.register_forward_pre_hook(partial(self._note, place), with_kwargs=True)
                for place, module in enumerate(self._asked)
            ),
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
                f"method '{self._name}' needs the vision tower to run in this call: pass "
                "pixel_values"
            )
        images, patches = parts[0].shape
        if any(n not in (0, patches) for n in n_visual) or sum(with_image) % images:
            found = ", ".join(map(str, sorted(set(n_visual))))
            raise SwiftprofError(
                f"method '{self._name}' takes prompts with one image each; this batch has rows of "
                f"{found} visual tokens and images of {patches}"
            )
        times, place, number = sum(with_image) // images, [], 0
        for some in with_image:
            place.append(number // times)
            number += some
        index = torch.tensor([min(p, images - 1) for p in place], device=parts[0].device)
        attention, keys, features = (part[index] for part in parts)
        received = tuple(
            self._seen.received[each][index, self._first :] for each in range(len(self._asked))
        )
        return Vision(
            attention=attention,
            keys=keys,
            patches=features[:, self._first :],
            cls=features[:, 0],
            received=received,
            project=self._tower.projector,
        )

    def _note(self, place: int, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """The attention that each token of the tower receives, mean over heads and queries."""
        attention = cast(Any, module)
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        query, key = (
            project(hidden).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2).float()
            for project in (attention.q_proj, attention.k_proj)
        )
        rows = torch.softmax(query @ key.transpose(-1, -2) * attention.scale, dim=-1)
        if not hasattr(self._seen, "received"):
            self._seen.received = {}
        self._seen.received[place] = rows.mean((1, 2))

    def _before_attention(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        attention = cast(Any, module)
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        heads, dim = attention.num_heads, attention.head_dim
        query = attention.q_proj(hidden[:, 0]).unflatten(-1, (heads, dim)).float()
        keys = attention.k_proj(hidden).unflatten(-1, (heads, dim)).transpose(1, 2).float()
        logits = (query[:, :, None] @ keys.transpose(-1, -2))[:, :, 0] * attention.scale
        row = torch.softmax(logits, dim=-1).mean(1)
        self._seen.partial = (row[:, self._first :], keys.mean(1)[:, self._first :])

    def _after_layer(self, module: nn.Module, args: Args, output: Any) -> None:
        features: Tensor = output[0] if isinstance(output, tuple) else output
        self._seen.parts = (*self._seen.partial, features)
