"""`prune(model, plan)`: visual-token pruning as a context manager around an unmodified model.

Forward hooks on the model's own modules change what its layers are given: hidden states, positions
and masks. The family's loop, attention kernels, caches and `generate()` stay Hugging Face's. What
has to outlive a forward pass lives on the cache object, what does not in a thread-local, so several
threads may generate at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from swiftprof.core.layout import scatter_tokens
from swiftprof.core.masks import attention_mask
from swiftprof.core.stages import cut_layers, judging_layers
from swiftprof.errors import SwiftprofError
from swiftprof.methods import create
from swiftprof.methods.base import Method
from swiftprof.runtime.conformance import check_scores
from swiftprof.runtime.decode import CacheState, Step, read_state, write_state
from swiftprof.runtime.decoder import Decoder, check_call, check_window, locate
from swiftprof.runtime.plan_check import check_plan
from swiftprof.runtime.prefill import Prefill, begin_prefill
from swiftprof.runtime.schedule import PlanLike
from swiftprof.runtime.stage import changes_nothing, restore_bypassed, score, select
from swiftprof.runtime.trace import OnSpan, OnStage, StageEvent
from swiftprof.runtime.vision import VisionTap

Inputs = tuple[tuple[Any, ...], dict[str, Any]]

_IMAGE_INPUTS = ("pixel_values", "pixel_values_videos", "mm_encoder_outputs")
_IMAGE_WORDS = ("pixel", "image", "video", "mm_encoder_outputs")  # in the names of image inputs


def prune(
    model: nn.Module,
    plan: PlanLike,
    *,
    method: Method | None = None,
    on_stage: OnStage | None = None,
    on_span: OnSpan | None = None,
) -> Pruning:
    """Prune a model's visual tokens by a plan, inside a `with` block.

    Any `generate()` arguments work: batches with padding on the left, greedy search, sampling,
    beams, several sequences per prompt. Prompts without an image pass through untouched. Threads
    may share one block. A cache that was filled inside decodes correctly only inside a block for
    the same model.

    Args:
        model: a Hugging Face vision-language model in evaluation mode; it is not modified, and
            hooks are gone when the block ends, also after an exception.
        plan: a `swiftprof.Plan`, or any object with its `method`, `stages`, `options` and
            `model.num_layers`.
        method: runs instead of the plan's own, for methods that no registry knows.
        on_stage: called after each stage with a `StageEvent`, for example a
            `swiftprof.runtime.trace.Trace`.
        on_span: makes a context manager around each piece of pruning work, by its name: "restore",
            "score" or "select" (merging included); for clocks and profilers.

    Returns:
        A `Pruning`, a context manager with `attach()` and `detach()`.

    Raises:
        SwiftprofError: the model, the plan or their combination is not supported. Unsupported calls
            (a chunked prefill, new images on a filled cache, a static cache, ...) raise it when
            they are made.

    Examples:
        >>> with prune(model, plan):  # doctest: +SKIP
        ...     model.generate(**inputs, max_new_tokens=20)
    """
    return Pruning(model, plan, method=method, on_stage=on_stage, on_span=on_span)


class Pruning:
    """Hooks that prune one model by one plan; see `prune`. Can be attached again and again."""

    def __init__(
        self,
        model: nn.Module,
        plan: PlanLike,
        *,
        method: Method | None = None,
        on_stage: OnStage | None = None,
        on_span: OnSpan | None = None,
    ) -> None:
        self._decoder: Decoder = locate(model)
        self._stages = tuple(plan.stages)
        self._method = method or create(plan.method, plan.options)
        self._on_stage = on_stage
        self._span = on_span or _no_span
        self._vision = (
            VisionTap(self._decoder) if self._stages and self._method.reads_vision else None
        )
        check_plan(self._decoder, self._method, plan)
        first = self._method.first
        self._cuts = cut_layers(self._stages, first)
        self._judges = judging_layers(self._stages, self._method.scoring, first)
        self._prepares = type(self._method).prepare is not Method.prepare
        self._local = threading.local()
        self._handles: list[RemovableHandle] = []

    @property
    def attached(self) -> bool:
        """Whether the hooks are in place."""
        return bool(self._handles)

    def attach(self) -> Pruning:
        """Install the hooks.

        Raises:
            SwiftprofError: the model is being pruned already (blocks do not nest), is in training
                mode, or its attention is not supported.
        """
        decoder = self._decoder
        for module in (decoder.root, decoder.text, *decoder.layers):
            if any(isinstance(hook, _Hook) for hook in module._forward_pre_hooks.values()):
                raise SwiftprofError(
                    "this model is being pruned already: leave the other prune block first"
                )
        if decoder.model.training:
            raise SwiftprofError("the model is in training mode: call model.eval() before pruning")
        _ = decoder.mask_kind  # refuses an attention backend that is not supported
        if self._stages and self._method.attends != "nothing":
            check_scores(decoder, min(self._judges[0], len(decoder.layers) - 1))
        handles = self._handles
        try:
            handles.append(
                decoder.root.register_forward_pre_hook(_Hook(self._before_model), with_kwargs=True)
            )
            handles.append(decoder.root.register_forward_hook(self._after_model, always_call=True))
            handles.append(decoder.text.register_forward_hook(self._after_text, with_kwargs=True))
            if self._vision is not None:
                handles.extend(self._vision.attach())
            first = min(self._judges[0], self._cuts[0]) if self._stages else len(decoder.layers)
            first = 0 if self._prepares else first
            for i, layer in list(enumerate(decoder.layers))[first:]:
                hook = _Hook(partial(self._before_layer, i))
                handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
        except BaseException:
            self.detach()
            raise
        return self

    def detach(self) -> None:
        """Remove the hooks; the model is as it was. Does nothing when they are not in place."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> Pruning:
        return self.attach()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    # --- hooks on the model

    def _before_model(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Find out what kind of call this is."""
        self._local.call = None
        if not self._stages:
            return
        cache, padding = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        ids = kwargs.get("input_ids", args[0] if args else None)
        state = read_state(cache)
        images = any(_given(kwargs.get(name)) for name in _IMAGE_INPUTS)
        if state is not None or (cache is not None and _filled(cache)):
            if images:
                raise SwiftprofError(
                    "images on a cache that already holds tokens cannot be pruned (nor can a "
                    "prefill in chunks): give the whole prompt at once, with an empty cache"
                )
            if state is not None:
                placed = kwargs.get("position_ids") is not None
                self._local.call = self._begin_step(state, cache, padding, ids, placed)
            return
        if ids is None:
            raise SwiftprofError(
                "prune finds visual tokens by input_ids: pass input_ids instead of inputs_embeds"
            )
        if padding is not None and padding.ndim != 2:
            raise SwiftprofError(
                f"attention_mask has {padding.ndim} dimensions: pass one of shape (batch, tokens)"
            )
        call = begin_prefill(
            ids,
            padding,
            self._decoder.visual_ids,
            self._stages,
            merges=self._method.merges,
            bypass=self._method.bypass,
            compacts=self._method.compacts,
        )
        if call is not None:
            if not any(_given(v) for k, v in kwargs.items() if any(s in k for s in _IMAGE_WORDS)):
                raise SwiftprofError(
                    "the prompt has image tokens, but the call brings no image: pass pixel_values "
                    "(a prefill in chunks loses them)"
                )
            check_call(self._decoder, call.length)
            self._local.call = call

    def _begin_step(
        self,
        state: CacheState,
        cache: Any,
        padding: Tensor | None,
        ids: Tensor | None,
        placed: bool,
    ) -> Step:
        if self._decoder.sliding_window is not None:
            check_window(
                self._decoder, cache.get_seq_length() + (1 if ids is None else ids.shape[1])
            )
        return Step(
            state,
            padding if padding is not None and padding.ndim == 2 else None,
            self._decoder.mask_kind,
            self._decoder.rotary,
            placed,
        )

    def _after_model(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        """Forget the call, also after an exception."""
        self._local.call = None
        if self._vision is not None:
            self._vision.clear()

    def _after_text(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Leave the state on the cache, and give the caller one hidden state per slot.

        It is zero where tokens left. Labels and log-likelihoods thus keep their shapes.
        """
        call = getattr(self._local, "call", None)
        if not isinstance(call, Prefill) or not call.segments:
            return None
        cache = getattr(output, "past_key_values", None)
        cache = kwargs.get("past_key_values") if cache is None else cache
        if cache is not None:
            write_state(
                cache, CacheState.make(call.length, call.segments, len(self._decoder.layers))
            )
        hidden = output[0]
        call.move(hidden.device)
        full = hidden.new_zeros(hidden.shape[0], call.length, hidden.shape[-1])
        full = scatter_tokens(full, hidden, call.tokens.slots, call.tokens.valid)
        if isinstance(output, tuple):
            return (full, *output[1:])
        output.last_hidden_state = full
        return output

    # --- hooks on the layers

    def _before_layer(
        self, i: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Inputs | None:
        """Change what a layer (0-based index `i`) is given."""
        call = getattr(self._local, "call", None)
        if call is None:
            return None
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if isinstance(call, Step):
            return self._decoding(call, i, hidden, args, kwargs)
        return self._prefilling(call, i, layer, hidden, args, kwargs)

    def _decoding(
        self, step: Step, i: int, hidden: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Inputs | None:
        if step.state.segments[i] is None:
            return None
        mask = step.mask(i, hidden, kwargs["past_key_values"], kwargs.get("attention_mask"))
        changed = {**kwargs, "attention_mask": mask, "position_ids": None}
        rope = step.positions(i, hidden, kwargs.get("position_ids"))
        if rope is not None:
            changed["position_embeddings"] = rope
        return args, changed

    def _prefilling(
        self,
        call: Prefill,
        i: int,
        layer: nn.Module,
        hidden: Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Inputs | None:
        rope = kwargs.get("position_embeddings")
        if not isinstance(rope, tuple):
            raise SwiftprofError(
                f"{type(layer).__name__} cannot be pruned: it is not given position_embeddings"
            )
        call.move(hidden.device)
        if i == 0 and self._prepares:
            call.memo = self._method.prepare(call.prompt_view(hidden))
        for j, cut in enumerate(self._cuts):
            if cut == i:
                hidden = self._stage(call, j, layer, hidden, rope)
        for j, judge in enumerate(self._judges):
            if judge == i < self._cuts[j] and not changes_nothing(call, self._method, j):
                with self._span("score"):
                    scores = score(call, self._method, j, layer, hidden, rope)
                    call.scores[j] = call.by_slot(scores)
        if not call.segments:
            return None
        segment = call.segments[-1]
        if i == segment.first:
            call.mask = attention_mask(
                self._decoder.mask_kind,
                segment.valid,
                batch=hidden.shape[0],
                queries=segment.length,
                keys=segment.length,
                dtype=hidden.dtype,
                device=hidden.device,
            )
        # No position_ids: the tables hold the positions, and gaps would look like packed sequences.
        changed = {
            **kwargs,
            "attention_mask": call.mask,
            "position_embeddings": call.positions(rope),
        }
        changed["position_ids"] = None
        if args:
            return (hidden, *args[1:]), changed
        return args, {**changed, "hidden_states": hidden}

    def _stage(
        self, call: Prefill, j: int, layer: nn.Module, hidden: Tensor, rope: tuple[Tensor, Tensor]
    ) -> Tensor:
        number, cut = self._stages[j].layer, self._cuts[j]
        if changes_nothing(call, self._method, j):
            if self._on_stage is not None:
                tokens = call.tokens
                none = torch.zeros_like(tokens.candidates)
                self._on_stage(
                    StageEvent.make(call, j, number, cut, tokens.slots, tokens.candidates, none)
                )
            return hidden
        if self._vision is not None:
            call.vision = self._vision.rows(call.schedule.visual)
        with self._span("restore"):
            hidden = restore_bypassed(call, hidden)
        if j in call.scores:
            scores = call.scores.pop(j).gather(1, call.tokens.slots)
        else:
            with self._span("score"):
                scores = score(call, self._method, j, layer, hidden, rope)
        with self._span("select"):
            return select(call, self._method, j, cut, scores, hidden, self._on_stage, number)


def _no_span(name: str) -> AbstractContextManager[None]:
    """Around pruning work that nobody times."""
    return _NOTHING


_NOTHING = nullcontext()


class _Hook:
    """A hook that can be told from other people's hooks."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._function(module, args, kwargs)


def _given(value: object) -> bool:
    """Whether an image input holds anything; encoder outputs come as a dict by modality."""
    return (
        any(each is not None for each in value.values())
        if isinstance(value, dict)
        else value is not None
    )


def _filled(cache: Any) -> bool:
    """Whether a cache without a pruning state holds tokens."""
    if getattr(cache, "is_compileable", False):
        raise SwiftprofError(
            "a static cache has one length for all layers and cannot be pruned: "
            "leave cache_implementation out, or use DynamicCache"
        )
    return bool(cache.get_seq_length() > 0)
