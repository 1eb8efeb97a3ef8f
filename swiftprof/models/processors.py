"""The processor of a checkpoint; without torchvision, the part of it that takes images."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any


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
