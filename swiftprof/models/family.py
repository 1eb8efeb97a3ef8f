"""What a family of models is to the rest of swiftprof: a few facts, no code of its own.

A family says where its decoder, its layers and its rotary embedding are, which token ids stand for
visual tokens, and what a plan's `visual_tokens` means. Loading, prompts, pruning and profiling are
shared; `swiftprof.runtime` refuses a model that is not built as its family says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.models.conventions import Conventions


@dataclass(frozen=True)
class Alias:
    """A short name for weights on the hub.

    Attributes:
        name: what people type.
        id: hub id.
        licence: of the weights, as their card names it.
        shape: the decoder, from the published configuration; costs need no download.
        revision: commit to pin; None follows the hub's main branch.
    """

    name: str
    id: str
    licence: str
    shape: DecoderShape
    revision: str | None = None


def _none(config: Any) -> int:
    return 0


def _as_given(processor: Any, width: int, height: int) -> tuple[int, int]:
    return width, height


@dataclass(frozen=True)
class Family:
    """One family of vision-language models in transformers.

    Attributes:
        name: short name, unique.
        title: name for people.
        model_types: the `model_type` fields of the configurations that belong to it.
        image_tokens: configuration → visual tokens of one image, newline tokens included; where
            that varies, of a large image (memory is estimated for it). Takes a transformers
            configuration or the mapping of a `config.json` (see `read`).
        nominal_tokens: visual tokens of one image: what every image has or, where that varies, what
            published tables count with; None where there is no such number.
        varies: the number of visual tokens depends on the image. A plan's `visual_tokens` is then
            null, and budgets are ratios.
        counting: one sentence for people: what makes the number of visual tokens.
        decoder: path of the text model inside the `...ForConditionalGeneration`.
        layers: path of the list of layers inside the text model.
        rotary: path of the rotary embedding inside the text model.
        norm: path of the final norm inside the text model.
        visual_ids: configuration fields with the ids of tokens that stand for a visual feature.
        vision_layers: configuration → number of first layers after which vision features are added
            once more (DeepStack); pruning starts behind them.
        seen_size: processor, width, height → the size at which the model sees an image; matters
            where boxes are in pixels.
        conventions: prompts, images and boxes.
        aliases: short names of its checkpoints.
    """

    name: str
    title: str
    model_types: tuple[str, ...]
    image_tokens: Callable[[Any], int]
    varies: bool
    counting: str
    decoder: str = "model.language_model"
    layers: str = "layers"
    rotary: str = "rotary_emb"
    norm: str = "norm"
    visual_ids: tuple[str, ...] = (
        "image_token_id",
        "image_token_index",
        "video_token_id",
        "video_token_index",
    )
    vision_layers: Callable[[Any], int] = _none
    seen_size: Callable[[Any, int, int], tuple[int, int]] = _as_given
    conventions: Conventions = field(default=Conventions())
    nominal_tokens: int | None = None
    aliases: tuple[Alias, ...] = field(default=(), repr=False)

    def visual_tokens(self, config: Any) -> int | None:
        """Visual tokens of every image; None where that depends on the image."""
        return None if self.varies else self.image_tokens(config)


def read(config: Any, *path: str, default: Any = None) -> Any:
    """A field of a configuration, be it an object or the mapping of a `config.json`.

    Examples:
        >>> read({"vision_config": {"patch_size": 14}}, "vision_config", "patch_size")
        14
    """
    for name in path:
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return default if config is None else config
