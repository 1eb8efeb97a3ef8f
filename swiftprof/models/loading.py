"""Load a model by alias, hub id or folder, through the ordinary ``from_pretrained``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from swiftprof.errors import SwiftprofError
from swiftprof.measure.flops import DecoderShape
from swiftprof.models.conventions import Conventions, conventions_of
from swiftprof.models.registry import ModelSource, find_model

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedModel, ProcessorMixin

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class VLM:
    """A loaded vision-language model: a plain Hugging Face model beside its processor."""

    source: ModelSource
    model: PreTrainedModel
    processor: ProcessorMixin

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def num_layers(self) -> int:
        """Decoder layers of the language model, L."""
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def decoder_shape(self) -> DecoderShape:
        """Sizes of the decoder, for FLOPs."""
        return DecoderShape.from_config(self.model.config.get_text_config())

    @property
    def image_token_id(self) -> int:
        config = self.model.config
        token = getattr(config, "image_token_id", None)
        return int(config.image_token_index if token is None else token)

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of one image in the prompt (LLaVA-1.5: all images have the same number)."""
        vision = self.model.config.vision_config
        return (int(vision.image_size) // int(vision.patch_size)) ** 2

    @property
    def conventions(self) -> Conventions:
        """How this family wants prompts, images and boxes."""
        return conventions_of(str(self.model.config.model_type))

    def seen_size(self, width: int, height: int) -> tuple[int, int]:
        """Size at which the model sees an image that is handed over with this size.

        Matters only where boxes come in pixels; families that resize by a rule of their own say so
        here.
        """
        return width, height

    def prompt(self, question: str) -> str:
        """The chat-template prompt for one image and one question."""
        content: Any = [{"type": "image"}, {"type": "text", "text": question}]
        message: Any = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(message, add_generation_prompt=True)
        return str(text)

    def inputs(self, images: Sequence[Image], questions: Sequence[str]) -> dict[str, Any]:
        """A left-padded batch ready for ``model.generate``: one image and one question a row."""
        batch = self.processor(
            images=[image.convert("RGB") for image in images],
            text=[self.prompt(q) for q in questions],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        batch = batch.to(self.model.device, dtype=self.model.dtype)
        return {k: v for k, v in batch.items() if k != "token_type_ids"}

    def decode(self, ids: torch.Tensor | Sequence[Sequence[int]]) -> list[str]:
        """Texts of generated ids, one a row, without special tokens."""
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [t.strip() for t in texts]


def load(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attn: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> VLM:
    """Load a model for profiling or pruned inference.

    Args:
        name: alias (``tiny-llava``, ``llava-1.5-7b``), hub id, or local folder.
        dtype: ``float32``, ``bfloat16``, ``float16``; ``auto`` is float32 on a CPU and the
            checkpoint's own type on a GPU.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` takes a GPU when there is one.
        attn: attention backend (``sdpa``, ``eager``, ``flash_attention_2``); transformers' default
            when None.

    Raises:
        SwiftprofError: unknown name, unknown option value, weights that cannot be read.
    """
    source = find_model(name)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype != "auto" and dtype not in DTYPES:
        raise SwiftprofError(f"--dtype {dtype}: take one of auto, {', '.join(DTYPES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SwiftprofError(f"--device {device}: PyTorch sees no GPU here; use --device cpu")
    wanted: Any = DTYPES.get(dtype, torch.float32 if device == "cpu" else "auto")
    options: dict[str, Any] = {
        "revision": revision or source.revision,
        "trust_remote_code": trust_remote_code,
        "use_safetensors": True,
        "dtype": wanted,
    }
    if attn:
        options["attn_implementation"] = attn
    model, processor = _read(source, options)
    return VLM(source, model.to(device).eval(), processor)


def _read(source: ModelSource, options: dict[str, Any]) -> tuple[Any, Any]:
    import transformers
    from transformers import AutoModelForImageTextToText, AutoProcessor

    bars = transformers.utils.logging.is_progress_bar_enabled()
    if source.bundled:
        transformers.utils.logging.disable_progress_bar()
    try:
        model = AutoModelForImageTextToText.from_pretrained(source.location, **options)
        shared = {k: options[k] for k in ("revision", "trust_remote_code")}
        processor = AutoProcessor.from_pretrained(source.location, **shared)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SwiftprofError(
            f"model {source.name!r} cannot be loaded from {source.id}: {first}"
        ) from error
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    return model, processor
