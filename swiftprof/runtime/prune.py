"""`prune(model, plan)`: visual-token pruning as a context manager around an unmodified model.

Forward hooks on the model's own modules change what its layers are given: hidden states, positions
and masks. The family's loop, attention kernels, caches and `generate()` stay Hugging Face's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from swiftprof.errors import SwiftprofError
from swiftprof.methods import create
from swiftprof.methods.base import Method
from swiftprof.runtime.compiled import check_compiled, forget_compiled
from swiftprof.runtime.conformance import check_scores
from swiftprof.runtime.decoder import Decoder, locate
from swiftprof.runtime.hooks import Hook, Hooks
from swiftprof.runtime.plan_check import check_plan
from swiftprof.runtime.schedule import PlanLike
from swiftprof.runtime.trace import OnSpan, OnStage


def prune(
    model: nn.Module,
    plan: PlanLike,
    *,
    method: Method | None = None,
    prompt_lengths: int | Sequence[int] | Tensor | None = None,
    on_stage: OnStage | None = None,
    on_span: OnSpan | None = None,
) -> Pruning:
    """Prune a model's visual tokens by a plan, inside a `with` block.

    What `generate()` can do works, but for a prefill in chunks: padded batches, greedy search,
    sampling, beams, several sequences per prompt, assisted decoding, no cache, static caches with
    compiled decoding, and conversations, whose later turns may bring images of their own.
    `docs/models.md` has a table.

    A prompt ends where its answer begins, and its last token judges. With `labels` that is before a
    row's first label; with `logits_to_keep=n` greater than 1 (assisted decoding, trainers) where
    the first of the n tokens stands whose logits are kept; otherwise at the last token of the call,
    unless `prompt_lengths` says more. So an answer is scored as it would have been generated.
    Logits where an image token was dropped are those of a hidden state of zeros: do not score the
    prompt's own tokens. Labels on them are refused.

    Hidden states and attentions have other lengths from layer to layer;
    `swiftprof.runtime.trace.PrefillTrace.slots` says which token an entry is.

    Prompts without an image pass through untouched; so do `inputs_embeds` into which image features
    were merged before, as nothing tells them from text. The hooks sit on the model, so all threads
    that call it while the block is open are pruned. A cache that was filled inside may be used in
    any later block for the same model, whatever its plan, but not outside.

    Args:
        model: a Hugging Face vision-language model in evaluation mode; it is not modified, and
            hooks are gone when the block ends, also after an exception.
        plan: a `swiftprof.Plan`, or any object with its `method`, `stages`, `options` and
            `model.num_layers`.
        method: runs instead of the plan's own, for methods that no registry knows.
        prompt_lengths: tokens of each row's prompt, padding excluded, or one number for all rows;
            for calls that hold an answer too and say so in no other way. The attribute of that name
            may be changed between calls.
        on_stage: called after each stage with a `StageEvent`, for example a
            `swiftprof.runtime.trace.Trace`.
        on_span: makes a context manager around each piece of pruning work, by its name: "restore",
            "score" or "select" (merging included); for clocks and profilers.

    Returns:
        A `Pruning`, a context manager with `attach()` and `detach()`.

    Raises:
        SwiftprofError: the model, the plan or their combination is not supported. Unsupported calls
            (a chunked prefill, labels on the prompt, ...) raise it when they are made.

    Examples:
        >>> with prune(model, plan):  # doctest: +SKIP
        ...     model.generate(**inputs, max_new_tokens=20)
    """
    return Pruning(
        model,
        plan,
        method=method,
        prompt_lengths=prompt_lengths,
        on_stage=on_stage,
        on_span=on_span,
    )


class Pruning:
    """Hooks that prune one model by one plan; see `prune`. Can be attached again and again."""

    def __init__(
        self,
        model: nn.Module,
        plan: PlanLike,
        *,
        method: Method | None = None,
        prompt_lengths: int | Sequence[int] | Tensor | None = None,
        on_stage: OnStage | None = None,
        on_span: OnSpan | None = None,
    ) -> None:
        check_compiled(model)
        self._decoder: Decoder = locate(model)
        self._method = method or create(plan.method, plan.options)
        stages = tuple(plan.stages)
        self._hooks = Hooks(self._decoder, self._method, stages, prompt_lengths, on_stage, on_span)
        check_plan(self._decoder, self._method, plan)
        self._handles: list[RemovableHandle] = []

    @property
    def attached(self) -> bool:
        """Whether the hooks are in place."""
        return bool(self._handles)

    @property
    def prompt_lengths(self) -> int | Sequence[int] | Tensor | None:
        """See `prune`; may be set between calls."""
        return self._hooks.prompt_lengths

    @prompt_lengths.setter
    def prompt_lengths(self, lengths: int | Sequence[int] | Tensor | None) -> None:
        self._hooks.prompt_lengths = lengths

    def attach(self) -> Pruning:
        """Install the hooks.

        Raises:
            SwiftprofError: the model is being pruned already (blocks do not nest), is in training
                mode, is compiled, or its attention is not supported.
        """
        decoder, hooks = self._decoder, self._hooks
        for module in (decoder.root, decoder.text, *decoder.layers):
            if any(isinstance(hook, Hook) for hook in module._forward_pre_hooks.values()):
                raise SwiftprofError(
                    "this model is being pruned already: leave the other prune block first"
                )
        if decoder.model.training:
            raise SwiftprofError("the model is in training mode: call model.eval() before pruning")
        check_compiled(decoder.model)
        _ = decoder.mask_kind  # refuses an attention backend that is not supported
        if self._method.attends != "nothing":
            for judge in sorted({min(j, len(decoder.layers) - 1) for j in hooks.judges}):
                check_scores(decoder, judge)
        try:
            if decoder.head is not None:
                self._before(decoder.head, hooks.before_head)
                self._after(decoder.head, hooks.after_head)
            self._before(decoder.root, hooks.before_model)
            self._after(decoder.root, hooks.after_model)
            self._before(decoder.text, hooks.before_text)
            self._handles.append(
                decoder.text.register_forward_hook(hooks.after_text, with_kwargs=True)
            )
            if hooks.vision is not None:
                self._handles.extend(hooks.vision.attach())
            for i, layer in enumerate(decoder.layers):
                self._before(layer, partial(hooks.before_layer, i))
            for i in hooks.keyed:
                project = cast(Any, decoder.layers[i]).self_attn.k_proj
                self._handles += [
                    project.register_forward_pre_hook(partial(hooks.before_keys, i)),
                    project.register_forward_hook(partial(hooks.after_keys, i)),
                ]
            forget_compiled()
        except BaseException:
            self.detach()
            raise
        return self

    def _before(self, module: nn.Module, function: Callable[..., Any]) -> None:
        handle = module.register_forward_pre_hook(Hook(function), with_kwargs=True)
        self._handles.append(handle)

    def _after(self, module: nn.Module, function: Callable[..., Any]) -> None:
        handle = module.register_forward_hook(function, with_kwargs=True, always_call=True)
        self._handles.append(handle)

    def detach(self) -> None:
        """Remove the hooks; the model is as it was. Does nothing when they are not in place."""
        if self._handles:
            forget_compiled()
        while self._handles:
            self._handles.pop().remove()
        self._hooks.forget()

    def __enter__(self) -> Pruning:
        return self.attach()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()
