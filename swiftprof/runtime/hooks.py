"""The hooks of a pruned model: what its layers are given instead, call by call.

What has to outlive a forward pass lives on the cache object, what does not in a thread-local, so
several threads may generate at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn

from swiftprof.core.layout import scatter_tokens
from swiftprof.core.stages import StageLike, cut_layers, judging_layers
from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method
from swiftprof.methods.view import StageView
from swiftprof.plugins import staying
from swiftprof.runtime.attention import Judge
from swiftprof.runtime.cache import cached_keys, get_state, held, write_state
from swiftprof.runtime.calls import (
    Uncached,
    Wanted,
    arguments,
    begin_call,
    decodes_statically,
    what_is_wanted,
)
from swiftprof.runtime.conformance import check_mask
from swiftprof.runtime.decode import StaticStep, Step
from swiftprof.runtime.decoder import Decoder
from swiftprof.runtime.keys import KnownKeys
from swiftprof.runtime.pictures import find_pictures
from swiftprof.runtime.prefill import Prefill
from swiftprof.runtime.stage import changes_nothing, look, restore_bypassed, select
from swiftprof.runtime.static import is_static, shorten
from swiftprof.runtime.structure import NotCopied
from swiftprof.runtime.trace import OnSpan, OnStage, StageEvent
from swiftprof.runtime.vision import VisionTap

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Hook:
    """A hook that can be told from other people's hooks."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        return self._function(module, args, kwargs)


class _Local(threading.local):
    """What a thread knows of the call that it is in, and of the one before."""

    wanted: Wanted = Wanted()
    call: Prefill | None = None
    uncached: Uncached | None = None


class Hooks(NotCopied):
    """The hooks for one model and one plan; `swiftprof.runtime.prune` puts them in place.

    Attributes:
        prompt_lengths: tokens of each row's prompt in the calls to come; None where its end is
            known otherwise.
        judges: for each stage the 0-based index of the layer that judges.
        keyed: those that judge before they run.
    """

    def __init__(
        self,
        decoder: Decoder,
        method: Method,
        stages: Sequence[StageLike],
        prompt_lengths: int | Sequence[int] | Tensor | None,
        on_stage: OnStage | None,
        on_span: OnSpan | None,
    ) -> None:
        self.prompt_lengths = prompt_lengths
        self.judges = judging_layers(stages, method.scoring, method.first)
        self.vision = VisionTap(decoder, method) if stages and method.reads_vision else None
        self._decoder, self._method, self._stages = decoder, method, stages
        self._cuts = cut_layers(stages, method.first)
        self.keyed = sorted(
            {
                cut
                for cut, judge in zip(self._cuts, self.judges, strict=True)
                if judge == cut < len(decoder.layers) and method.attends != "nothing"
            }
        )
        self._prepares = bool(stages) and type(method).prepare is not Method.prepare
        self._on_stage = on_stage
        self._span = on_span or _no_span
        self._local = _Local()

    def forget(self) -> None:
        """Nothing of earlier calls is kept."""
        self._local = _Local()

    # --- on the model

    def before_head(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Note what the module around the decoder is asked for."""
        given = arguments(module, args, kwargs)
        if not decodes_statically(given):
            self._local.wanted = what_is_wanted(given)

    def after_head(self, module: nn.Module, args: Args, kwargs: Kwargs, output: object) -> None:
        """Forget it, also after an exception."""
        if not decodes_statically(arguments(module, args, kwargs)):
            self._local.wanted = Wanted()

    def before_model(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Find out what kind of call this is."""
        given = arguments(module, args, kwargs)
        if decodes_statically(given):
            if (state := get_state(given["past_key_values"])) is not None:
                state.step = StaticStep(state, self._decoder.rotary)
            return
        local = self._local
        local.call = None
        call, local.uncached = begin_call(
            self._decoder,
            self._method,
            self._stages,
            given,
            local.wanted,
            self.prompt_lengths,
            local.uncached,
        )
        if isinstance(call, Step):
            call.state.step = call
        else:
            local.call = call

    def after_model(self, module: nn.Module, args: Args, kwargs: Kwargs, output: object) -> None:
        """Forget the call, also after an exception."""
        given = arguments(module, args, kwargs)
        if (state := get_state(given.get("past_key_values"))) is not None:
            state.step = None
        if not decodes_statically(given):
            self._local.call = None
            if self.vision is not None:
                self.vision.clear()

    def before_text(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Tell the images apart, where the method looks at them one by one."""
        call, method = self._local.call, self._method
        if isinstance(call, Prefill) and (method.per == "image" or method.reads_grid):
            visual, positions = call.prompt.candidates, kwargs.get("position_ids")
            call.pictures = find_pictures(self._decoder, visual, call.index, positions)

    def after_text(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        """Leave the state on the cache, and give the caller one hidden state per slot.

        It is zero where tokens left. Labels and log-likelihoods thus keep their shapes.
        """
        call = self._local.call
        if not isinstance(call, Prefill) or (not call.segments and not any(call.past)):
            return None
        cache = getattr(output, "past_key_values", None)
        cache = kwargs.get("past_key_values") if cache is None else cache
        if cache is not None:
            write_state(cache, call.state())
        if not call.segments:
            return None
        hidden = output[0]
        call.move(hidden.device)
        full = hidden.new_zeros(hidden.shape[0], call.length, hidden.shape[-1])
        full = scatter_tokens(full, hidden, call.tokens.slots, call.tokens.valid)
        if isinstance(output, tuple):
            return (full, *output[1:])
        output.last_hidden_state = full
        return output

    # --- on the layers

    def before_layer(self, i: int, layer: nn.Module, args: Args, kwargs: Kwargs) -> Inputs | None:
        """Change what a layer (0-based index `i`) is given."""
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        state = get_state(kwargs.get("past_key_values"))
        if state is not None and state.step is not None:
            return self._on_pruned_cache(state.step, i, hidden, args, kwargs)
        call = self._local.call
        return None if call is None else self._prefilling(call, i, layer, hidden, args, kwargs)

    # --- on W_K of layers that judge before they run

    def before_keys(self, i: int, module: nn.Module, args: Args) -> Args | None:
        """Of tokens whose keys are known, the projection of layer `i` is not given any."""
        known = self._known_keys(i)
        return None if known is None else (known.unknown(args[0]),)

    def after_keys(self, i: int, module: nn.Module, args: Args, output: Tensor) -> Tensor | None:
        """Give all keys, known and new."""
        known = self._known_keys(i)
        if known is None:
            return None
        cast(Prefill, self._local.call).known = None
        return known.with_unknown(output)

    def _known_keys(self, i: int) -> KnownKeys | None:
        call = self._local.call
        known = None if call is None else call.known
        return known if known is not None and known.layer == i else None

    def _on_pruned_cache(
        self, step: Step, i: int, hidden: Tensor, args: Args, kwargs: Kwargs
    ) -> Inputs | None:
        if step.state.segments[i] is None:
            return None
        mask = step.mask(i, hidden, kwargs.get("attention_mask"))
        changed = {**kwargs, "attention_mask": mask, "position_ids": None}
        rope = step.positions(i, hidden, kwargs.get("position_ids"))
        if rope is not None:
            changed["position_embeddings"] = rope
        return args, changed

    def _prefilling(
        self, call: Prefill, i: int, layer: nn.Module, hidden: Tensor, args: Args, kwargs: Kwargs
    ) -> Inputs | None:
        if not isinstance(kwargs.get("position_embeddings"), tuple):
            raise SwiftprofError(
                f"{type(layer).__name__} cannot be pruned: it is not given position_embeddings"
            )
        mask = kwargs.get("attention_mask")
        if not self._decoder.known and id(mask) not in call.compared:
            check_mask(layer, mask, call.prompt.valid, call.before.length)
            call.compared.add(id(mask))
        call.move(hidden.device)
        if i == 0 and self._prepares:
            call.memo = self._method.prepare(call.prompt_view(hidden))
        for j in [j for j in call.views if self._cuts[j] == i]:
            seen = call.views.pop(j)  # its layer has run: what it gave is known now
            output = self._decoder.norm(hidden).to(seen.hidden.device)
            scores = self._score(replace(seen, output=output))
            call.scores[j] = call.by_slot(scores.to(hidden.device))
        for j, cut in enumerate(self._cuts):
            if cut == i:
                hidden = self._stage(call, j, i, layer, hidden, kwargs)
        for j, judge in enumerate(self.judges):
            if judge == i < self._cuts[j] and not changes_nothing(call, self._method, j):
                seen_by = Judge(layer, hidden, self._rope(call, i, hidden, kwargs))
                view = self._look(call, j, i, seen_by, hidden, kwargs)
                if self._method.reads_output:
                    call.views[j] = view
                else:
                    call.scores[j] = call.by_slot(self._score(view))
        room, cache = 0, kwargs.get("past_key_values")
        if is_static(cache):
            call.explicit, tokens = True, hidden.shape[1]
            room = shorten(cache, i, call.length - tokens) - tokens
        if call.is_as_given(i):
            return None
        # No position_ids: the tables hold the positions, and gaps would look like packed sequences.
        changed = {
            **kwargs,
            "attention_mask": call.mask(i, hidden, self._decoder.mask_kind, room),
            "position_embeddings": self._rope(call, i, hidden, kwargs),
            "position_ids": None,
        }
        if args:
            return (hidden, *args[1:]), changed
        return args, {**changed, "hidden_states": hidden}

    def _stage(
        self, call: Prefill, j: int, i: int, layer: nn.Module, hidden: Tensor, kwargs: Kwargs
    ) -> Tensor:
        number = self._stages[j].layer
        if changes_nothing(call, self._method, j):
            if self._on_stage is not None:
                tokens = call.tokens
                kept = tokens.candidates & ~tokens.merged
                self._on_stage(
                    StageEvent.make(call, j, number, i, tokens.slots, kept, tokens.merged)
                )
            return hidden
        if self.vision is not None and call.vision is None:
            call.vision = self.vision.rows(call.schedule.visual)
            if self._local.uncached is not None:
                self._local.uncached.vision = call.vision
        with self._span("restore"):
            hidden = restore_bypassed(call, hidden)
        judge = None
        if j in call.scores:
            scores = call.scores.pop(j).gather(1, call.tokens.slots)
        else:
            judge = Judge(layer, hidden, self._rope(call, i, hidden, kwargs))
            view = self._look(call, j, i, judge, hidden, kwargs)
            scores = self._score(view)
            if self._method.pools:
                hidden, judge = self._method.pool(view), None
        with self._span("select"):
            return select(call, self._method, j, i, scores, hidden, judge, self._on_stage, number)

    def _score(self, view: StageView) -> Tensor:
        with self._span("score"), staying(f"method '{type(self._method).__name__}'"):
            return self._method.scores(view)

    def _look(
        self, call: Prefill, j: int, i: int, judge: Judge, hidden: Tensor, kwargs: Kwargs
    ) -> StageView:
        cached, cache = None, kwargs.get("past_key_values")
        if self._method.attends != "nothing" and cache is not None and held(cache, i):
            cached = cached_keys(cache, i), call.seen_before(i)
        return look(call, self._method, j, judge, hidden, cached)

    def _rope(self, call: Prefill, i: int, hidden: Tensor, kwargs: Kwargs) -> tuple[Tensor, Tensor]:
        whole, positions = kwargs["position_embeddings"], kwargs.get("position_ids")
        return call.rope(i, whole, hidden, positions, self._decoder.rotary)


def _no_span(name: str) -> AbstractContextManager[None]:
    """Around pruning work that nobody times."""
    return _NOTHING


_NOTHING = nullcontext()
