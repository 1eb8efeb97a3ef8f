"""Load a model by alias, hub id or folder, through the ordinary ``from_pretrained``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import torch

from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import SwiftprofError
from swiftprof.models.conventions import Conventions, PromptStyle
from swiftprof.models.family import Family, read
from swiftprof.models.registry import ModelInfo, ModelSource, find_family, find_model
from swiftprof.models.settings import LoadSettings

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedModel, ProcessorMixin

    Images = Image | Sequence[Image]


@dataclass(frozen=True)
class VLM:
    """A loaded vision-language model: a plain Hugging Face model beside its processor.

    Attributes:
        prompt_style: wording of prompts where it is not the family's own.
        loading: how it was loaded, where that is not the default and decides results: quantised
            weights, model arguments.
    """

    source: ModelSource
    model: PreTrainedModel
    processor: ProcessorMixin
    prompt_style: PromptStyle | None = None
    loading: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.source.name

    @cached_property
    def family(self) -> Family:
        """What is known of its family."""
        return family_of(self.model.config, self.source.id)

    @property
    def num_layers(self) -> int:
        """Decoder layers of the language model, L."""
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def info(self) -> ModelInfo:
        """What files say of the model."""
        return ModelInfo(
            name=self.name,
            id=self.source.id,
            revision=self.source.revision,
            num_layers=self.num_layers,
            visual_tokens=self.visual_tokens,
        )

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
    def visual_tokens(self) -> int | None:
        """Visual tokens of one image in the prompt; None where that depends on the image."""
        return self.family.visual_tokens(self.model.config)

    @property
    def conventions(self) -> Conventions:
        """How this family wants prompts, images and boxes.

        Raises SwiftprofError where the prompt style is another family's.
        """
        own = self.family.conventions
        if self.prompt_style is None:
            return replace(own, prompt_style="scenes") if self.source.bundled else own
        if self.prompt_style == "llava-eval" and self.model.config.model_type != "llava":
            raise SwiftprofError(
                f"prompt style llava-eval is LLaVA-1.5's, and {self.name} is none; take another"
            )
        return replace(own, prompt_style=self.prompt_style)

    def seen_size(self, width: int, height: int) -> tuple[int, int]:
        """Size at which the model sees an image that is handed over with this size.

        Matters only where boxes come in pixels; families that resize by a rule of their own say so
        in their `seen_size`.
        """
        return self.family.seen_size(self.processor, width, height)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The chat-template prompt for the next answer of a conversation.

        Args:
            messages: ``{"role": …, "content": [{"type": "image"}, {"type": "text", "text": …}]}``.
        """
        given: Any = list(messages)
        return str(self.processor.apply_chat_template(given, add_generation_prompt=True))

    def prompt(self, question: str, images: int = 1) -> str:
        """The chat-template prompt for a number of images and one question."""
        content: list[dict[str, str]] = [*({"type": "image"} for _ in range(images))]
        content.append({"type": "text", "text": question})
        text = self.chat([{"role": "user", "content": content}])
        system = self.conventions.system
        return f"{system} {text}" if system else text

    def inputs(self, images: Sequence[Images], questions: Sequence[str]) -> dict[str, Any]:
        """A left-padded batch ready for ``model.generate``: a row is one question.

        Args:
            images: per row one image, or a sequence of any number of them.
            questions: per row.
        """
        mark = getattr(self.processor, "image_token", None)
        for question in questions:
            if mark and mark in question:
                raise SwiftprofError(
                    f"the question holds {mark}, by which this model marks where an image goes; "
                    "leave it out, images are put before the question"
                )
        rows = [list(row) if isinstance(row, Sequence) else [row] for row in images]
        prompts = [self.prompt(q, len(row)) for q, row in zip(questions, rows, strict=True)]
        return self.encode(prompts, rows)

    def encode(self, prompts: Sequence[str], images: Sequence[Sequence[Image]]) -> dict[str, Any]:
        """The same from whole prompts, with the images of each row in the order of its prompt."""
        pictures = [[image.convert("RGB") for image in row] for row in images]
        batch = self.processor(
            images=pictures if any(pictures) else None,
            text=list(prompts),
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


def family_of(config: Any, where: str) -> Family:
    """The family of a configuration, or of the mapping of a `config.json`.

    Raises:
        SwiftprofError: no family has its model type.
    """
    kind = str(read(config, "model_type", default=""))
    family = find_family(kind)
    if family is None:
        from swiftprof.models.failures import unsupported

        raise unsupported(kind, where)
    return family


def load(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attn: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    device_map: str | None = None,
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    model_args: Mapping[str, Any] | None = None,
    ignore_memory: bool = False,
) -> VLM:
    """Load a model for profiling or pruned inference.

    Args:
        name: alias (``tiny-llava``, ``llava-1.5-7b``), hub id, or local folder.
        dtype: ``float32``, ``bfloat16``, ``float16``; ``auto`` is float32 on a CPU and the
            checkpoint's own type on a GPU.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` takes a GPU when there is one.
        attn: attention backend (``sdpa``, ``eager``, ``flash_attention_2``); transformers' default
            when None.
        revision: commit, tag or branch on the hub; the alias's own when None.
        trust_remote_code: let the checkpoint bring its own code. Never needed for the families
            that come with swiftprof.
        device_map: ``auto`` and the like spread the layers over devices (needs accelerate).
        load_in_8bit: quantise the weights with bitsandbytes.
        load_in_4bit: the same, to four bits.
        model_args: further arguments of ``from_pretrained``; those that begin with ``processor.``
            go to the processor.
        ignore_memory: read a model even if it needs more memory than is free.

    Raises:
        SwiftprofError: unknown name, unknown option value, a model that is not supported or does
            not fit, weights that cannot be read.
    """
    source = find_model(name)
    settings = LoadSettings(
        dtype=dtype,
        device=device,
        attn=attn,
        revision=revision or source.revision,
        trust_remote_code=trust_remote_code,
        device_map=device_map,
        load_in_8bit=load_in_8bit,
        load_in_4bit=load_in_4bit,
        model_args=dict(model_args or {}),
    ).checked()
    try:
        with _quiet(source.bundled):
            model, processor = _read(source, settings, ignore_memory)
    except SwiftprofError:
        raise
    except Exception as error:  # the libraries' own kinds
        from swiftprof.models.failures import explain

        raise SwiftprofError(explain(error, source, settings.revision)) from error
    commit = getattr(model.config, "_commit_hash", None)
    if commit and not source.local:
        source = replace(source, revision=str(commit))  # what was read, not what was asked for
    return VLM(source, model.eval(), processor, loading=settings.said())


def _read(
    source: ModelSource, settings: LoadSettings, ignore_memory: bool
) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import AutoConfig, AutoModelForImageTextToText, PretrainedConfig

    place, shared = source.location, settings.shared()
    raw, _ = PretrainedConfig.get_config_dict(place, **shared)
    family = family_of(raw, source.id)
    config = AutoConfig.from_pretrained(place, **shared)
    processor = load_processor(place, shared, settings.processor_args())
    if not ignore_memory and not source.bundled:
        from swiftprof.models.memory import check_fits

        check_fits(source, config, family, settings)
    model = AutoModelForImageTextToText.from_pretrained(place, **shared, **settings.model_options())
    if settings.moves_itself:
        model = model.to(cast(Any, settings.device))
    return model, processor


@contextmanager
def _quiet(active: bool) -> Iterator[None]:
    """No progress bars while the bundled model is read."""
    from transformers.utils import logging

    active = active and logging.is_progress_bar_enabled()
    if active:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if active:
            logging.enable_progress_bar()


def load_processor(location: str, shared: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """A checkpoint's processor.

    Processors of families that also take videos want a video processor, and that one wants
    torchvision. We never give videos, so without torchvision it is left out.

    Args:
        location: hub id or folder.
        shared: arguments of every `from_pretrained`.
        options: further arguments of the processor's.
    """
    from transformers import AutoProcessor

    if find_spec("torchvision") is not None:
        return AutoProcessor.from_pretrained(location, **shared, **options)
    try:
        return AutoProcessor.from_pretrained(location, **shared, **options)
    except (ImportError, ValueError) as error:
        if "torchvision" not in str(error).lower():
            raise
        return _without_videos(location, shared, options)


def images_only(base: type) -> type:
    """A processor class that does without a video processor (pass None for it)."""
    from transformers import ProcessorMixin

    class ImagesOnly(base):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

        def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
            # Some families' own method asks the video processor for its defaults.
            return ProcessorMixin.apply_chat_template(self, *args, **kwargs)

    ImagesOnly.__name__ = ImagesOnly.__qualname__ = base.__name__
    return ImagesOnly


def _without_videos(location: str, shared: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    import transformers
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, ProcessorMixin
    from transformers.models.auto import processing_auto

    settings, _ = ProcessorMixin.get_processor_dict(location, **shared)
    name = settings.get("processor_class")
    if name is None:
        model_type = AutoConfig.from_pretrained(location, **shared).model_type
        name = processing_auto.PROCESSOR_MAPPING_NAMES[model_type]  # type: ignore[attr-defined]
    kind: Any = images_only(getattr(transformers, name))
    parts = {
        "image_processor": lambda: AutoImageProcessor.from_pretrained(
            location, **shared, **options
        ),
        "tokenizer": lambda: AutoTokenizer.from_pretrained(location, **shared),
        "video_processor": lambda: None,
    }
    arguments = [parts[part]() for part in kind.get_attributes()]
    return kind.from_args_and_dict(arguments, settings)
