"""Models of true or scaled sizes with random weights: speed needs no checkpoint.

The sizes come with swiftprof as numbers (a decoder's from the registry of models, the vision
tower's below), so nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from swiftprof.costs.flops import PAPER_TEXT_TOKENS, DecoderShape
from swiftprof.errors import BadParameter
from swiftprof.models.families.llava import LLAVA
from swiftprof.models.registry import ModelInfo, own_models
from swiftprof.planning.fill import Cost

if TYPE_CHECKING:
    from swiftprof.models.loading import VLM

_VOCABULARY = 32064
_IMAGE = 32000
_QUESTION = "what color is the circle"
_BEFORE = 35
"""Tokens before the image: LLaVA's system prompt."""


@dataclass(frozen=True)
class Benched:
    """What a benchmark runs: a model and a way to make inputs for it.

    Attributes:
        name: for people.
        model: the model.
        shape: its decoder.
        visual_tokens, text_tokens: of one prompt.
        random_weights: whether the weights mean nothing.
        scale: factor on the widths.
        inputs: for `generate`, of a batch of the size asked for.
    """

    name: str
    model: Any
    shape: DecoderShape
    visual_tokens: int
    text_tokens: int
    random_weights: bool
    scale: float
    inputs: Callable[[int], dict[str, Any]]

    @property
    def cost(self) -> Cost:
        """What its prompts cost, for planning."""
        depth, visual = self.shape.num_layers, self.visual_tokens
        info = ModelInfo(name=self.name, num_layers=depth, visual_tokens=visual)
        return Cost(info, self.shape, self.text_tokens)


def loaded_model(vlm: VLM) -> Benched:
    """A real model, asked about noise of 336 x 336 pixels."""

    def questions(batch: int) -> dict[str, Any]:
        import numpy as np
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 256, (batch, 336, 336, 3), dtype=np.uint8)
        return vlm.inputs([Image.fromarray(each) for each in noise], [_QUESTION] * batch)

    one = questions(1)
    visual = int((one["input_ids"] == vlm.image_token_id).sum())
    text = int(one["input_ids"].shape[1]) - visual
    return Benched(vlm.name, vlm.model, vlm.decoder_shape, visual, text, False, 1.0, questions)


def sized_models() -> list[str]:
    """Names whose sizes are known here."""
    return [alias.name for alias in LLAVA.aliases]


def random_model(
    name: str,
    *,
    scale: float = 1.0,
    layers: int | None = None,
    text_tokens: int = PAPER_TEXT_TOKENS,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    attn: str = "sdpa",
    seed: int = 0,
    vocabulary: int = _VOCABULARY,
    image_token: int = _IMAGE,
) -> Benched:
    """A LLaVA of known sizes with random weights, and prompts with one image of 336 x 336.

    Args:
        name: one of `sized_models()`.
        scale: factor on hidden and intermediate sizes and on the number of heads, of the decoder
            and of the vision tower. Depth, head sizes and the number of tokens stay.
        layers: another depth.
        text_tokens: tokens of a prompt beside the visual ones.
        vocabulary, image_token: of the tokenizer.

    Raises:
        SwiftprofError: sizes of this name are not known, or the scale is not above 0.
    """
    import transformers as hf

    if name not in sized_models():
        raise BadParameter(
            "config", name, f"its sizes are not known here; known: {', '.join(sized_models())}"
        )
    if not 0 < scale <= 4:
        raise BadParameter("scale", scale, "must lie in (0, 4]; 1 is the true size")
    true = own_models()[name].shape
    assert true is not None
    shape = _scaled(true, scale)
    if layers is not None:
        shape = replace(shape, num_layers=layers)
    tower_heads = max(1, round(16 * scale))
    config = hf.LlavaConfig(
        text_config=hf.LlamaConfig(
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_attention_heads,
            num_key_value_heads=shape.num_key_value_heads,
            head_dim=shape.head_dim,
            vocab_size=vocabulary,
            max_position_embeddings=4096,
            eos_token_id=None,
            pad_token_id=0,
        ),
        vision_config=hf.CLIPVisionConfig(  # CLIP ViT-L/14 at 336 pixels
            hidden_size=64 * tower_heads,
            intermediate_size=256 * tower_heads,
            num_hidden_layers=24,
            num_attention_heads=tower_heads,
            image_size=336,
            patch_size=14,
            projection_dim=768,
        ),
        image_token_index=image_token,
        image_seq_length=576,
    )
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with device:
                model: Any = hf.LlavaForConditionalGeneration(config)
        finally:
            torch.set_default_dtype(before)
    model = model.eval().requires_grad_(False)
    model.set_attn_implementation(attn)
    visual = LLAVA.image_tokens(config)

    def questions(batch: int) -> dict[str, Any]:
        random = torch.Generator().manual_seed(seed)
        text = torch.randint(3, image_token, (batch, text_tokens), generator=random)
        first = min(_BEFORE, text_tokens - 1)
        image = torch.full((batch, visual), image_token)
        ids = torch.cat([text[:, :first], image, text[:, first:]], 1)
        pixels = torch.randn(batch, 3, 336, 336, generator=random)
        return {
            "input_ids": ids.to(device),
            "attention_mask": torch.ones_like(ids).to(device),
            "pixel_values": pixels.to(device, dtype),
        }

    return Benched(name, model, shape, visual, text_tokens, True, scale, questions)


def _scaled(shape: DecoderShape, scale: float) -> DecoderShape:
    heads = max(1, round(shape.num_attention_heads * scale))
    groups = shape.num_attention_heads // shape.num_key_value_heads
    return replace(
        shape,
        hidden_size=heads * shape.head_dim,
        intermediate_size=max(32, round(shape.intermediate_size * scale / 32) * 32),
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // groups),
    )
