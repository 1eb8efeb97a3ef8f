"""Loading a model for a command: said on stderr, with the libraries' chatter off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftprof.cli.options import LoadOptions
from swiftprof.cli.output import Output

if TYPE_CHECKING:
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan


def load_model(output: Output, options: LoadOptions, prompt_style: str | None = None) -> VLM:
    """Load what the options say; without a name the bundled model.

    Unknown names and impossible options fail before anything heavy starts.
    """
    from dataclasses import replace

    from swiftprof.models.conventions import check_prompt_style

    style = check_prompt_style(prompt_style)
    from swiftprof.models.registry import BUNDLED_MODEL, find_model
    from swiftprof.models.settings import parse_model_args

    name = options.model or BUNDLED_MODEL
    source, model_args = find_model(name), parse_model_args(options.model_arg or ())
    output.note(f"loading {source.name} …")
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    from swiftprof.models.loading import load

    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    vlm = load(
        name,
        dtype=options.dtype,
        device=options.device,
        attn=options.attn,
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
        device_map=options.device_map,
        load_in_8bit=options.load_in_8bit,
        load_in_4bit=options.load_in_4bit,
        model_args=model_args,
        check_memory=not options.no_memory_check,
    )
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
