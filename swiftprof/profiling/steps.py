"""A decoder run layer by layer, on rows of tokens: what vanilla runs and re-runs are made of.

A family that does more between embedding and logits (scales embeddings, adds features, caps logits)
would be measured wrongly without a sign of it; `check_steps` finds that out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.masks import attention_mask
from swiftprof.core.stages import BASE_LAYER
from swiftprof.errors import SwiftprofError
from swiftprof.profiling.plain_layer import PlainLayer, plain_layers
from swiftprof.profiling.row_cache import RowCache
from swiftprof.runtime.attention import queries, rotary_tables
from swiftprof.runtime.conformance import check_scores
from swiftprof.runtime.decoder import Decoder, locate

Rope = tuple[Tensor, Tensor]
Watch = Callable[[int, Sequence[Tensor]], None]
"""Called before each layer with its 0-based number and what enters it, some rows at a time."""

CPU_TOKENS_WIDTH = 2**18
"""Tokens times MLP width that go through a layer together on a CPU: more leaves its cache."""
CPU_TOKENS = 512
"""But no fewer tokens than these: each portion reads the layer's weights again."""


class Steps:
    """A decoder that is run layer by layer."""

    def __init__(self, model: nn.Module) -> None:
        self.decoder: Decoder = locate(model)
        self.model: Any = model

    @cached_property
    def _plain(self) -> list[PlainLayer | None]:
        return plain_layers(self.decoder)

    def _plain_at(self, index: int, rope: Rope) -> PlainLayer | None:
        return self._plain[index] if rope[0].ndim == 3 else None

    def query(self, index: int, hidden: Tensor, rope: Rope) -> Tensor:
        """Query of one token per row, to compare with a layer's cached keys.

        Args:
            hidden: what enters the layer, (B, 1, D).

        Returns:
            (B, heads, head size).
        """
        if plain := self._plain_at(index, rope):
            return plain.query(hidden, rope)[:, :, 0]
        layer: Any = self.decoder.layers[index]
        return queries(layer.self_attn, layer.input_layernorm(hidden), rope)[:, :, 0]

    def mask(self, hidden: Tensor, seen: Tensor, additive: bool = True) -> Tensor | None:
        """Mask for hidden (R, q, D) as the last q of the columns ``seen`` (R, n) bool.

        Args:
            additive: where the backend takes a map: a bool one would be turned into that in each
                layer. Otherwise, what the backend takes, which may be None for a causal one.
        """
        kind = self.decoder.mask_kind
        return attention_mask(
            "eager" if additive and kind == "sdpa" else kind,
            None if bool(seen.all()) else seen,
            batch=hidden.shape[0],
            queries=hidden.shape[1],
            keys=seen.shape[1],
            dtype=hidden.dtype,
            device=hidden.device,
        )

    def run(
        self,
        index: int,
        hidden: Tensor,
        rope: Rope,
        mask: Tensor | None,
        cache: Any,
        last: int | None = None,
    ) -> Tensor:
        """Decoder layer ``index`` (0-based); ``hidden`` may be overwritten.

        Args:
            last: only so many of the last tokens are wanted.
        """
        if plain := self._plain_at(index, rope):
            return plain.run(hidden, rope, mask, cache, last)
        # No position ids: gaps in them would look like packed sequences.
        out = self.decoder.layers[index](
            hidden,
            attention_mask=mask,
            position_embeddings=rope,
            position_ids=None,
            past_key_values=cache,
            use_cache=True,
        )
        out = out[0] if isinstance(out, tuple) else out
        return out if last is None else out[:, -last:]

    def through(
        self,
        hidden: Tensor,
        rope: Rope,
        seen: tuple[Tensor, Tensor],
        cache: RowCache,
        *,
        last: int = 1,
        start: int = 0,
        added: Mapping[int, Tensor] | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Run the layers behind the first ``start``: what leaves layer L, (R, last, d).

        Args:
            hidden: (R, n, d); is overwritten.
            rope: cos and sin of each row's tokens, (R, n, head size); M-RoPE puts 3 in front.
            seen: columns of the cache, these tokens included, that hold a token, (R, p + n) bool,
                in the first BASE_LAYER layers and in the others.
            last: tokens at the end that are wanted.
            added: by 0-based layer what is added behind it, (R, n, d).
        """
        size = self._rows_at_work(hidden)
        parts = list(hidden.split(size))
        ropes = list(zip(*(t.split(size, -3) for t in rope), strict=True))
        final = len(self.decoder.layers) - 1
        masks: list[Tensor | None] = []
        for i in range(start, final + 1):
            if i in (start, BASE_LAYER):
                now = seen[i >= BASE_LAYER].split(size)
                short = parts[0].shape[1] < now[0].shape[1]  # a whole prompt's would be large
                masks = [self.mask(*each, short) for each in zip(parts, now, strict=True)]
            if watch is not None:
                watch(i, parts)
            for n, part in enumerate(parts):
                rows = slice(n * size, n * size + len(part))
                wanted = last if i == final else None
                part = self.run(i, part, ropes[n], masks[n], cache[rows], wanted)
                if added and i in added:
                    part = part + added[i][rows, -part.shape[1] :].to(part)
                parts[n] = part
        cache.advance()
        return torch.cat(parts)

    def _rows_at_work(self, hidden: Tensor) -> int:
        """Rows that go through a layer together: all on a GPU, few enough for a CPU's cache."""
        rows, tokens, _ = hidden.shape
        if hidden.device.type != "cpu":
            return rows
        most = max(CPU_TOKENS, CPU_TOKENS_WIDTH // int(self.decoder.config.intermediate_size))
        return max(1, most // tokens)

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def rope(self, hidden: Tensor, positions: Tensor) -> Rope:
        """Cos and sin at positions of text, (R, n)."""
        return rotary_tables(self.decoder, hidden, positions)

    def logits(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.model.get_output_embeddings()(self.decoder.norm(hidden))
        return out


_TOKENS = 8


@torch.inference_mode()
def check_steps(model: nn.Module) -> Steps:
    """Compare the layers run one by one with the model's own forward, on eight made-up tokens.

    The scores of every layer are compared with its eager attention map as well.

    Raises:
        SwiftprofError: the model is not supported, or the two differ.
    """
    steps = Steps(model)
    decoder = steps.decoder
    for index in range(len(decoder.layers)):
        check_scores(decoder, index)
    weight = steps.model.get_input_embeddings().weight
    taken = {*decoder.visual_ids, getattr(decoder.config, "pad_token_id", None)}
    words = [i for i in range(min(len(weight), 3 * _TOKENS)) if i not in taken][-_TOKENS:]
    ids = torch.tensor([words], device=weight.device)
    wanted = steps.model(input_ids=ids, use_cache=False).logits[:, -1].float()
    everyone = torch.ones_like(ids, dtype=torch.bool)
    rope = steps.rope(steps.embed(ids), torch.arange(len(words), device=ids.device)[None])
    cache = RowCache(1, [len(words)] * len(decoder.layers))
    hidden = steps.through(steps.embed(ids), rope, (everyone, everyone), cache)
    got = steps.logits(hidden)[:, -1].float().to(wanted.device)
    scale = wanted.std().clamp_min(1e-6)
    tolerance = 1e-3 if hidden.dtype == torch.float32 else 0.1
    difference = ((got - wanted).abs().max() / scale).item()
    if not difference <= tolerance:
        raise SwiftprofError(
            f"{type(model).__name__} cannot be profiled: its layers run one by one do not give "
            f"its own logits (they differ by {difference:.2g} standard deviations), so it does "
            "something between them that swiftprof does not know"
        )
    return steps
