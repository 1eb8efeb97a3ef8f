"""Loading a model for a command: said on stderr, with the libraries' chatter off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftprof.cli.output import Output

if TYPE_CHECKING:
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan


def load_model(
    output: Output,
    name: str | None,
    dtype: str,
    device: str,
    attn: str | None,
    prompt_style: str | None = None,
) -> VLM:
    """Load by name; None is the bundled model. Unknown names fail before anything heavy starts."""
    from dataclasses import replace

    from swiftprof.models.conventions import check_prompt_style

    style = check_prompt_style(prompt_style)
    from swiftprof.models.registry import BUNDLED_MODEL, find_model

    source = find_model(name or BUNDLED_MODEL)
    output.note(f"loading {source.name} …")
    from transformers.utils import logging

    from swiftprof.models.loading import load

    logging.set_verbosity_error()
    vlm = load(name or BUNDLED_MODEL, dtype=dtype, device=device, attn=attn)
    return vlm if style is None else replace(vlm, prompt_style=style)


def load_for_plan(
    output: Output,
    plan: Plan,
    name: str | None,
    dtype: str,
    device: str,
    attn: str | None,
    prompt_style: str | None = None,
) -> VLM:
    """The model that a plan was made for, or the one named; refuses one of another depth."""
    from swiftprof.models.registry import ALIASES

    planned = plan.model.name if plan.model.name in ALIASES else plan.model.id or plan.model.name
    vlm = load_model(output, name or planned, dtype, device, attn, prompt_style)
    plan.check_model(vlm.num_layers, vlm.name)
    return vlm
