"""Loading a model for a command: said on stderr, with the libraries' chatter off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from swiftprof.cli.options import LoadOptions
from swiftprof.cli.output import Output

if TYPE_CHECKING:
    from swiftprof.models.conventions import PromptStyle
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan


def load_model(output: Output, options: LoadOptions, prompt_style: str | None = None) -> VLM:
    """Load what the options say; without a name the bundled model.

    Unknown names and impossible options fail before anything heavy starts.
    """
    load = loader(options, prompt_style)
    output.note(f"loading {source_name(options)} …")
    return load()


def source_name(options: LoadOptions) -> str:
    """Short name of the model; unknown ones are refused."""
    from swiftprof.models.registry import BUNDLED_MODEL, find_model

    return find_model(options.model or BUNDLED_MODEL).name


def loader(options: LoadOptions, prompt_style: str | None = None) -> Callable[[], VLM]:
    """A function that loads what the options say, here or in another process."""
    from swiftprof.models.conventions import check_prompt_style

    style = check_prompt_style(prompt_style)
    from swiftprof.models.registry import BUNDLED_MODEL
    from swiftprof.models.settings import parse_model_args

    source_name(options)
    arguments = {
        "dtype": options.dtype,
        "device": options.device,
        "attn": options.attn,
        "revision": options.revision,
        "trust_remote_code": options.trust_remote_code,
        "device_map": options.device_map,
        "load_in_8bit": options.load_in_8bit,
        "load_in_4bit": options.load_in_4bit,
        "model_args": parse_model_args(options.model_arg or ()),
        "ignore_memory": options.ignore_memory,
    }
    return partial(_load, options.model or BUNDLED_MODEL, style, arguments)


def _load(name: str, style: PromptStyle | None, arguments: Mapping[str, Any]) -> VLM:
    from dataclasses import replace

    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    from swiftprof.models.loading import load

    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    vlm = load(name, **arguments)
    return vlm if style is None else replace(vlm, prompt_style=style)


def load_for_plan(
    output: Output, plan: Plan, options: LoadOptions, prompt_style: str | None = None
) -> VLM:
    """The model that a plan was made for, or the one named; refuses one of another depth."""
    from dataclasses import replace

    from swiftprof.models.registry import known_models

    if options.model is None:
        known, info = known_models(), plan.model
        options = replace(options, model=info.name if info.name in known else info.id or info.name)
        if options.revision is None and info.name not in known:
            options = replace(options, revision=info.revision)
    vlm = load_model(output, options, prompt_style)
    plan.check_model(vlm.num_layers, vlm.name)
    return vlm
