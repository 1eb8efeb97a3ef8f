"""What kind of call a forward pass is: a prompt with images, text on a pruned cache, or neither."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.stages import StageLike
from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method
from swiftprof.methods.view import Vision
from swiftprof.runtime.cache import CacheState, Segment, Segments, read_state
from swiftprof.runtime.decode import GrowingStep, StaticStep, Step, trim
from swiftprof.runtime.decoder import Decoder, check_call, check_window
from swiftprof.runtime.prefill import Prefill, begin_prefill
from swiftprof.runtime.prompt import prompt_ends, visual_tokens
from swiftprof.runtime.static import begin_static, is_filled, is_static, prompt_mask

_IMAGE_WORDS = ("pixel", "image", "video", "mm_encoder_outputs")  # in the names of image inputs


@dataclass(frozen=True)
class Wanted:
    """What the model around the decoder was asked for.

    Attributes:
        labels: `(B, L)`, what is to be predicted.
        logits_to_keep: for how many of the last tokens; 0 for all.
    """

    labels: Tensor | None = None
    logits_to_keep: int = 0


@dataclass
class Uncached:
    """A prompt that is generated from without a cache: every step brings it again.

    Attributes:
        ids: `(B, L)` of the prompt.
        last: `(B,)`, where it ends.
        length: tokens of the latest call.
        vision: what the vision tower knew when it ran.
    """

    ids: Tensor
    last: Tensor
    length: int
    vision: Vision | None = None

    def goes_on(self, ids: Tensor, wanted: Wanted) -> bool:
        """Whether a call is the next step: one token more, of which the last logits are wanted."""
        return (
            wanted.logits_to_keep == 1
            and ids.shape == (self.ids.shape[0], self.length + 1)
            and torch.equal(ids[:, : self.ids.shape[1]], self.ids)
        )


def arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by name, those without a name included."""
    if not args:
        return kwargs
    names = list(inspect.signature(type(module).forward).parameters)[1:]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def what_is_wanted(given: dict[str, Any]) -> Wanted:
    """Read it from the arguments of a `...ForConditionalGeneration`.

    Raises:
        SwiftprofError: a loss over all tokens of all layers, which has no meaning where some left.
    """
    labels, keep = given.get("labels"), given.get("logits_to_keep", 0)
    if labels is not None and given.get("output_router_logits"):
        raise SwiftprofError(
            "the router loss is taken over all tokens in all layers, and pruned layers do not have "
            "them: leave output_router_logits or labels out"
        )
    return Wanted(labels, keep if isinstance(keep, int) else 0)


def brings_images(given: dict[str, Any]) -> bool:
    """Whether a call has image inputs, encoded or not."""
    return any(_given(v) for k, v in given.items() if any(word in k for word in _IMAGE_WORDS))


def decodes_statically(given: dict[str, Any]) -> bool:
    """Whether a call is one more token on a static cache, which may be compiled into one graph."""
    if not is_filled(given.get("past_key_values")):
        return False
    tokens = given.get("input_ids")
    tokens = given.get("inputs_embeds") if tokens is None else tokens
    return tokens is not None and tokens.shape[1] == 1 and not brings_images(given)


def begin_call(
    decoder: Decoder,
    method: Method,
    stages: Sequence[StageLike],
    given: dict[str, Any],
    wanted: Wanted,
    lengths: int | Sequence[int] | Tensor | None,
    uncached: Uncached | None,
) -> tuple[Prefill | Step | None, Uncached | None]:
    """Find out what has to be done in a call.

    Args:
        decoder: the model's decoder.
        method: the method.
        stages: the plan's.
        given: arguments of the module that calls the text model.
        wanted: arguments of the module around it.
        lengths: tokens of each row's prompt, where the user says so.
        uncached: what is remembered of an earlier call without a cache.

    Returns:
        The state of the call, None where Hugging Face's own way is right; and what to remember.

    Raises:
        SwiftprofError: the call would be pruned wrongly.
    """
    cache, padding = given.get("past_key_values"), given.get("attention_mask")
    ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
    images, state = brings_images(given), read_state(cache)
    tokens = ids if ids is not None else embeds
    if tokens is None or (state is None and not stages):
        return None, None
    if images and is_static(cache):
        begin_static(cache, decoder.mask_kind)
        padding = prompt_mask(padding, tokens.shape[1])
    before = 0 if cache is None else int(cache.get_seq_length())
    flat = padding if isinstance(padding, Tensor) and padding.ndim == 2 else None
    if state is not None:
        if before < state.slots:
            raise SwiftprofError(
                "this cache was cropped into its pruned prompt: prefill again to shorten the prompt"
            )
        _check_width(flat, before + tokens.shape[1])
    if before and not images:
        if state is None:
            return None, None
        if decoder.sliding_window is not None:
            check_window(decoder, before + tokens.shape[1])
        if is_static(cache):
            return StaticStep(state, decoder.rotary), None
        trim(cache, state, before)
        return GrowingStep(state, decoder.rotary, before, flat, decoder.mask_kind), None

    visual = visual_tokens(decoder, ids, embeds)
    mask = None if flat is None else flat.to(visual.device).bool()
    valid = torch.ones_like(visual)
    if mask is not None and mask.shape[1] == before + visual.shape[1]:
        valid = mask[:, before:]
    goes_on = uncached is not None and ids is not None and uncached.goes_on(ids, wanted)
    if uncached is not None and goes_on and lengths is None:
        last = uncached.last
    else:
        last = prompt_ends(valid, lengths, wanted.labels, wanted.logits_to_keep)
    call = begin_prefill(
        visual,
        valid,
        last,
        stages,
        merges=method.merges,
        bypass=method.bypass,
        compacts=method.compacts,
        before=Segment(before, mask[:, :before] if mask is not None and before else None),
        past=_past(state, before, mask, visual, len(decoder.layers)),
    )
    if call is None:
        if before:
            raise SwiftprofError(
                "the call brings an image, but its tokens are none of the image's: give a prompt "
                "at once, not in chunks, and each image with its tokens"
            )
        return None, None
    if not images:
        raise SwiftprofError(
            "the prompt has image tokens, but the call brings no image: pass pixel_values "
            "(a prefill in chunks loses them)"
        )
    if padding is not None and flat is None:
        raise SwiftprofError(
            f"attention_mask has {padding.ndim} dimensions: pass one of shape (batch, tokens)"
        )
    _check_width(flat, before + call.length)
    check_call(decoder, before + call.length)
    if given.get("use_cache") is not False or cache is not None or ids is None:
        return call, None
    if uncached is None or not goes_on:
        uncached = Uncached(ids, last, 0)
    uncached.length = ids.shape[1]
    call.vision = uncached.vision
    return call, uncached


def _past(
    state: CacheState | None, before: int, mask: Tensor | None, like: Tensor, num_layers: int
) -> Segments:
    """What each layer's cache holds now, text that came in after the state was written included."""
    if state is None:
        return (None,) * num_layers
    later = None if mask is None else mask[:, state.slots : before]
    behind = Segment(before - state.slots, later)
    made = {
        id(segment): segment.then(behind, like.shape[0], like.device)
        for segment in state.segments
        if segment is not None
    }
    return tuple(None if segment is None else made[id(segment)] for segment in state.segments)


def _check_width(mask: Tensor | None, tokens: int) -> None:
    """Refuse a mask `(B, n)` that is not as wide as the conversation."""
    if mask is not None and mask.shape[1] != tokens:
        raise SwiftprofError(
            f"attention_mask has {mask.shape[1]} columns and the conversation {tokens} tokens: "
            "give one column for each"
        )


def _given(value: object) -> bool:
    """Whether an image input holds anything; encoder outputs come as a dict by modality."""
    return (
        any(each is not None for each in value.values())
        if isinstance(value, dict)
        else value is not None
    )
