"""The vanilla run: greedy answers, every layer's T-V scores, and the tensors that re-runs share.

Only the last prompt token's attention row is computed, from its own input to each layer and the
keys that are in the cache anyway; no L x L map exists at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.counts import kept_count
from swiftprof.core.scores import attention_row
from swiftprof.core.select import rank
from swiftprof.core.stages import BASE_LAYER
from swiftprof.profiling.steps import Rope, Steps, right_aligned
from swiftprof.runtime.decoder import Decoder, check_call
from swiftprof.runtime.structure import DEEPSTACK


@dataclass(frozen=True)
class Recording:
    """One vanilla run of a left-padded batch of B prompts of P slots.

    Attributes:
        generated: greedy continuation, (B, T) token ids.
        scores: T-V scores of every layer over all slots, (B, L, P) float32, sum 1 over the visible.
        visual: slots that hold a visual token, (B, P) bool.
        valid: slots that are not padding, (B, P) bool.
        hidden: hidden states that enter layer BASE_LAYER + 1, (B, P, d).
        added: what the text model adds to the hidden states after a layer, by 0-based layer from
            BASE_LAYER on (DeepStack's vision features), each (B, P, d); zero at text.
        rope: cos and sin of every slot, each (B or 1, P, head size); M-RoPE may put 3 in front.
        next_position: position of the first generated token, (B,).
        prefix: slots of the text before the image, which no selection changes, right-aligned,
            (B, p), and which of these columns hold a token, (B, p) bool.
        keys, values: the prompt's cache, (B, KV heads, P, head size) in the first BASE_LAYER
            layers, (B, KV heads, p, head size), of the prefix alone, in the others.
        cache_numbers: how many numbers the whole cache of the run held.
        final: with an answer given, the normed output of layer L at the T tokens that predict it,
            (B, T, d); otherwise None. P then counts the answer's T slots too, which stand last.
    """

    generated: Tensor
    scores: Tensor
    visual: Tensor
    valid: Tensor
    hidden: Tensor
    added: dict[int, Tensor]
    rope: Rope
    next_position: Tensor
    prefix: tuple[Tensor, Tensor]
    keys: list[Tensor]
    values: list[Tensor]
    cache_numbers: int
    final: Tensor | None = None

    def select(self, keep: float) -> list[Tensor]:
        """Per row the slots of every layer's selection, (L, n) ascending, n = round(keep * n_v)."""
        out = []
        for scores, visual in zip(self.scores, self.visual, strict=True):
            count = kept_count(keep, int(visual.sum()))
            best = rank(scores, visual.expand_as(scores))[:, :count]
            out.append(best.sort(dim=1).values)
        return out


@torch.inference_mode()
def record(
    model: nn.Module,
    inputs: dict[str, Any],
    image_token_id: int,
    max_new_tokens: int,
    answers: Tensor | None = None,
) -> Recording:
    """Run the vanilla model on a left-padded batch and keep what profiling needs.

    Args:
        answers: ids of reference answers, (B, T), -1 behind shorter ones. They are put behind the
            prompts and run with them, and nothing is decoded.

    Raises:
        SwiftprofError: the model is not supported, or the prompt is longer than its window.
    """
    steps = Steps(model)
    asked = inputs["input_ids"].shape[1]
    if answers is not None:
        inputs, max_new_tokens = with_answers(inputs, answers), 1
    ids = inputs["input_ids"]
    prompt = ids.shape[1]
    check_call(steps.decoder, prompt + max_new_tokens)
    with _tap(steps.decoder, asked - 1, final=answers is not None) as tapped:
        out = model.generate(  # type: ignore[operator]
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            return_dict_in_generate=True,
            use_cache=True,
        )
    valid = inputs["attention_mask"].bool()
    layers = out.past_key_values.layers
    keys = [layer.keys[:, :, :prompt] for layer in layers]
    values = [layer.values[:, :, :prompt] for layer in layers]
    cos, sin = tapped.rope
    here = cos[..., asked - 1 : asked, :], sin[..., asked - 1 : asked, :]
    scores = keys[0].new_zeros(len(ids), len(layers), prompt, dtype=torch.float32)
    for i, module in enumerate(steps.decoder.layers):
        layer: Any = module
        query = steps.query(layer, tapped.last[i], here)
        row = attention_row(query, keys[i][:, :, :asked], valid[:, :asked], layer.self_attn.scaling)
        scores[:, i, :asked] = row
    visual = (ids == image_token_id) & valid
    visual[:, asked:] = False
    prefix = right_aligned(valid & (visual.cumsum(1) == 0))
    return Recording(
        generated=out.sequences[:, prompt:],
        scores=scores,
        visual=visual,
        valid=valid,
        hidden=tapped.hidden,
        added=tapped.added,
        rope=(cos, sin),
        next_position=_next_position(tapped.positions, valid),
        prefix=prefix,
        keys=_shared(keys, prefix[0]),
        values=_shared(values, prefix[0]),
        cache_numbers=sum(layer.keys.numel() + layer.values.numel() for layer in layers),
        final=tapped.final[:, :-1] if answers is not None else None,
    )


def _shared(cached: list[Tensor], prefix: Tensor) -> list[Tensor]:
    """What re-runs take over from the cache; the rest need not stay."""
    index = prefix[:, None, :, None]
    return [
        layer if i < BASE_LAYER else layer.take_along_dim(index.to(layer.device), 2)
        for i, layer in enumerate(cached)
    ]


def with_answers(inputs: dict[str, Any], answers: Tensor) -> dict[str, Any]:
    """Answers behind the prompts. Shorter ones are filled up with any text: nobody looks back."""
    filled = torch.where(answers >= 0, answers, answers[:, :1].clamp_min(0))
    more: dict[str, Any] = {"input_ids": filled, "attention_mask": 1, "mm_token_type_ids": 0}
    out = dict(inputs)
    for name in more.keys() & inputs.keys():
        value, here = more[name], inputs[name]
        added = value if isinstance(value, Tensor) else torch.full_like(filled, value)
        out[name] = torch.cat([here, added.to(here)], 1)
    return out


def _next_position(positions: Tensor, valid: Tensor) -> Tensor:
    """One more than the last prompt token's: (1 or B, P), or M-RoPE's (3, B, P) → (B,)."""
    if positions.ndim == 3:
        positions = positions.amax(0)
    return positions[:, -1].expand(len(valid)) + 1


class _Tapped:
    """What the hooks see during prefill."""

    def __init__(self, layers: int) -> None:
        self.last: list[Tensor] = [torch.empty(0)] * layers
        self.hidden = torch.empty(0)
        self.positions = torch.empty(0)
        self.rope: Rope = (torch.empty(0), torch.empty(0))
        self.added: dict[int, Tensor] = {}
        self.final = torch.empty(0)


@contextmanager
def _tap(decoder: Decoder, last: int, *, final: bool) -> Iterator[_Tapped]:
    """Record each layer's input at the last prompt token, slot `last` (padding is on the left).

    With `final`, also what the last norm gives from there on.
    """
    seen = _Tapped(len(decoder.layers))

    def tap(i: int) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            if hidden.shape[1] == 1:
                return  # decoding
            seen.last[i] = hidden[:, last : last + 1].clone()  # a view would keep all of it
            if i == BASE_LAYER:
                seen.hidden, seen.rope = hidden, kwargs["position_embeddings"]

        return hook

    def tap_rotary(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        positions = kwargs.get("position_ids", args[-1])
        if positions.shape[-1] > 1:
            seen.positions = positions

    def tap_norm(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if output.shape[1] > 1:
            seen.final = output[:, last:].clone()

    def tap_text(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        where, features = (kwargs.get(name) for name in DEEPSTACK)
        if where is None or not features:
            return
        for i, some in enumerate(features):
            if i >= BASE_LAYER:
                full = some.new_zeros(*where.shape, some.shape[-1])
                full[where] = some
                seen.added[i] = full

    handles = [
        layer.register_forward_pre_hook(tap(i), with_kwargs=True)
        for i, layer in enumerate(decoder.layers)
    ]
    handles.append(decoder.rotary.register_forward_pre_hook(tap_rotary, with_kwargs=True))
    handles.append(decoder.text.register_forward_pre_hook(tap_text, with_kwargs=True))
    if final:
        handles.append(decoder.norm.register_forward_hook(tap_norm))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
