"""The vanilla run: greedy answers, every layer's T-V scores, and the tensors that re-runs share.

The model itself embeds the prompt; its layers are then run as in the re-runs, a portion of rows at
a time. Only the last prompt token's attention row is computed, from its own input to each layer and
the keys that are in the cache anyway; no L x L map of all layers or heads exists at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.counts import kept_count
from swiftprof.core.layout import compact
from swiftprof.core.scores import attention_row
from swiftprof.core.select import rank
from swiftprof.core.stages import BASE_LAYER
from swiftprof.profiling.decode import Prompted, decode, end_tokens, per_row
from swiftprof.profiling.row_cache import RowCache
from swiftprof.profiling.steps import Rope, Steps
from swiftprof.runtime.decoder import check_call
from swiftprof.runtime.structure import DEEPSTACK


@dataclass(frozen=True)
class Recording:
    """One vanilla run of a left-padded batch of B prompts of P slots.

    Attributes:
        steps: what it was run with; how keys are laid out is their business.
        generated: greedy continuations without the end token, B lists of token ids.
        scores: T-V scores of every layer over all slots, (B, L, P) float32, sum 1 over the visible.
        visual: slots that hold a visual token, (B, P) bool.
        valid: slots that are not padding, (B, P) bool.
        hidden: the hidden states that enter the first layer behind BASE_LAYER, (B, P, d).
        added: what the text model adds to the hidden states after a layer, by 0-based layer from
            BASE_LAYER on (DeepStack's vision features), each (B, P, d); zero at text.
        rope: cos and sin of every slot, each (B, P, head size); M-RoPE puts 3 in front.
        position: of the first generated token, (B,).
        prefix: slots of the text before the image, which no selection changes, right-aligned,
            (B, p), and which of these columns hold a token, (B, p) bool.
        cached: keys and values of the prompt by layer, (B, KV heads, P, head size) in the first
            BASE_LAYER layers, (B, KV heads, p, head size), of the prefix alone, in the others.
        final: with an answer given, the normed output of layer L at the T tokens that predict it,
            (B, T, d); otherwise None. P then counts the answer's T slots too, which stand last.
    """

    steps: Steps
    generated: list[list[int]]
    scores: Tensor
    visual: Tensor
    valid: Tensor
    hidden: Tensor
    added: dict[int, Tensor]
    rope: Rope
    position: Tensor
    prefix: tuple[Tensor, Tensor]
    cached: list[tuple[Tensor, Tensor]]
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
    steps: Steps,
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
    decoder, asked = steps.decoder, inputs["input_ids"].shape[1]
    if answers is not None:
        inputs, max_new_tokens = with_answers(inputs, answers), 0
    ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
    batch, prompt = ids.shape
    check_call(decoder, prompt + max_new_tokens)
    layers = len(decoder.layers)
    cache = RowCache(batch, [prompt + max_new_tokens] * layers)
    asking: list[Tensor] = []
    hidden: list[Tensor] = []

    def watch(i: int, parts: Sequence[Tensor]) -> None:
        asking.append(torch.cat([part[:, asked - 1 : asked] for part in parts]))
        if i == BASE_LAYER:
            hidden.append(torch.cat(list(parts)))

    embedded, tables, positions, added = _embed(steps, inputs)
    rope, seen, wanted = per_row(tables, batch), (valid, valid), 1 + prompt - asked
    last = steps.through(embedded, rope, seen, cache, last=wanted, added=added, watch=watch)
    cached = [cache.columns(i, prompt) for i in range(layers)]
    visual = (ids == image_token_id) & valid
    visual[:, asked:] = False
    scores = torch.zeros(batch, layers, prompt, dtype=torch.float32, device=ids.device)
    here = rope[0][..., asked - 1 : asked, :], rope[1][..., asked - 1 : asked, :]
    for i, module in enumerate(decoder.layers):
        layer: Any = module
        keys = cached[i][0][:, :, :asked]
        query = steps.query(i, asking[i], here)
        scores[:, i, :asked] = attention_row(query, keys, valid[:, :asked], layer.self_attn.scaling)
    before = valid & (visual.cumsum(1) == 0)
    prefix = compact(before, int(before.sum(1).max()))
    shared = [
        _shared(pair, prefix[0] if i >= BASE_LAYER else None) for i, pair in enumerate(cached)
    ]
    position = positions[:, -1].expand(batch) + 1
    generated: list[list[int]] = []
    if answers is None:
        prompted = Prompted(last, seen, position, cache)
        generated = decode(steps, prompted, max_new_tokens, end_tokens(steps.model))
    return Recording(
        steps=steps,
        generated=generated,
        scores=scores,
        visual=visual,
        valid=valid,
        hidden=hidden[0],
        added={i: each for i, each in added.items() if i >= BASE_LAYER},
        rope=rope,
        position=position,
        prefix=prefix,
        cached=shared,
        final=None if answers is None else decoder.norm(last)[:, :-1],
    )


def _shared(pair: tuple[Tensor, Tensor], prefix: Tensor | None) -> tuple[Tensor, Tensor]:
    """What re-runs take over from the cache; copies, as decoding goes on in it."""
    if prefix is None:
        return pair[0].clone(), pair[1].clone()
    index = prefix[:, None, :, None].to(pair[0].device)
    return pair[0].take_along_dim(index, 2), pair[1].take_along_dim(index, 2)


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


class _Enough(Exception):
    """Leaves the model's forward before its first layer."""


def _embed(steps: Steps, inputs: dict[str, Any]) -> tuple[Tensor, Rope, Tensor, dict[int, Tensor]]:
    """Let the model itself embed a prompt, vision features included, as it does to generate.

    Returns:
        What enters the first layer: hidden states, cos and sin, the largest of each slot's position
        ids, (1 or B, P), and what is added behind which layer.
    """
    seen: dict[str, Any] = {}
    added: dict[int, Tensor] = {}

    def tap_text(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        where, features = (kwargs.get(name) for name in DEEPSTACK)
        for i, some in enumerate(features or []):
            added[i] = some.new_zeros(*where.shape, some.shape[-1])  # type: ignore[union-attr]
            added[i][where] = some

    def tap_rotary(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen["positions"] = kwargs.get("position_ids", args[-1])

    def tap_layer(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen["hidden"] = args[0] if args else kwargs["hidden_states"]
        seen["rope"] = kwargs["position_embeddings"]
        raise _Enough

    decoder = steps.decoder
    taps = [(decoder.text, tap_text), (decoder.rotary, tap_rotary), (decoder.layers[0], tap_layer)]
    hooks = [each.register_forward_pre_hook(tap, with_kwargs=True) for each, tap in taps]
    try:
        with suppress(_Enough):
            steps.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=1)
    finally:
        for hook in hooks:
            hook.remove()
    positions = seen["positions"].amax(0) if seen["positions"].ndim == 3 else seen["positions"]
    return seen["hidden"], seen["rope"], positions, added
