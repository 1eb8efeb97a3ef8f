"""The published methods read plainly: whole attention maps, lists, loops, and no cache.

Nothing is shared with the library. One prompt at a time; new tokens are appended to the prompt and
the whole is computed again, so that the logits of cached decoding can be compared with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from swiftprof.runtime.prune import prune
from tests.methods import definitions


@dataclass
class Token:
    """A token of the sequence: its state, where it stood in the prompt, and what it is."""

    state: Tensor
    slot: int
    kind: str  # text, visual, new
    merged: bool = False  # stands for several


def attention_map(
    model: Any, layer: Any, states: Tensor, positions: list[int], *, rope: bool = True
) -> tuple[Tensor, Tensor]:
    """Causal logits before the softmax and values per head: `(heads, n, n)`, `(heads, n, d)`."""
    attention, config = layer.self_attn, model.config.text_config
    dim = attention.head_dim
    normed = layer.input_layernorm(states)
    q = attention.q_proj(normed).view(len(states), -1, dim)
    k = attention.k_proj(normed).view(len(states), -1, dim)
    v = attention.v_proj(normed).view(len(states), -1, dim)
    if rope:
        base = (config.rope_parameters or {}).get("rope_theta", 10000.0)
        half = dim // 2
        angles = torch.tensor(positions)[:, None] * base ** (-torch.arange(half) / half)
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]

        def rotate(x: Tensor) -> Tensor:
            a, b = x[..., :half], x[..., half:]
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

        q, k = rotate(q), rotate(k)
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    logits = torch.einsum("qhd,khd->hqk", q, k) / dim**0.5
    later = torch.ones(len(states), len(states)).triu(1).bool()
    return logits.masked_fill(later, float("-inf")), v.transpose(0, 1)


def attention_keys(model: Any, layer: Any, states: Tensor, positions: list[int]) -> Tensor:
    """Keys after RoPE, `(n, G * d)`, from what a layer is given."""
    attention, config = layer.self_attn, model.config.text_config
    dim, half = attention.head_dim, attention.head_dim // 2
    key = attention.k_proj(layer.input_layernorm(states)).view(len(states), -1, dim)
    base = (config.rope_parameters or {}).get("rope_theta", 10000.0)
    angles = torch.tensor(positions)[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    a, b = key[..., :half], key[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).flatten(1)


def run_layer(model: Any, layer: Any, states: Tensor, positions: list[int]) -> Tensor:
    """One decoder layer on a sequence without padding."""
    logits, values = attention_map(model, layer, states, positions)
    mixed = (logits.softmax(-1) @ values).transpose(0, 1).flatten(1)
    states = states + layer.self_attn.o_proj(mixed)
    return states + layer.mlp(layer.post_attention_layernorm(states))


class Reference:
    """One run of one plan; see `reference`."""

    def __init__(self, model: Any, plan: Any, ids: Tensor, pixels: Tensor, new: Tensor) -> None:
        self.model, self.plan, self.pixels = model, plan, pixels
        self.options = plan.options
        compacting = {"pdrop", "sparsevlm", "visionzip", *definitions.EARLY}
        self.compacts = plan.method in compacting
        if self.options.get("positions") == "kept":
            self.compacts = False
        features = model.get_image_features(pixel_values=pixels)
        features = list(torch.cat(list(getattr(features, "pooler_output", features))))
        self.tokens: list[Token] = []
        number = 0
        for slot, token in enumerate([*ids.tolist(), *new.tolist()]):
            visual = slot < len(ids) and token == model.config.image_token_id
            state = (
                features[number] if visual else model.get_input_embeddings()(torch.tensor(token))
            )
            number += visual
            kind = "visual" if visual else "text" if slot < len(ids) else "new"
            self.tokens.append(Token(state, slot, kind))
        self.total, self.prompt = number, len(ids)
        self.raters = self._raters()
        self.kept: list[list[int]] = []

    def positions(self) -> list[int]:
        return list(range(len(self.tokens))) if self.compacts else [t.slot for t in self.tokens]

    def run(self) -> Tensor:
        text = self.model.get_decoder()
        cuts = [s.layer if j == 0 else s.layer - 1 for j, s in enumerate(self.plan.stages)]
        before = self.plan.method in ("fastv", "sparsevlm", "sparsevlm-plus", "feather", "drop")
        pending: dict[int, Tensor] = {}
        given = torch.empty(0)  # what the layer before was given
        for i, layer in enumerate(text.layers):
            for j, cut in enumerate(cuts):
                if cut == i:
                    if self.plan.method == "dart":
                        score = self._dart(text, text.layers[i - 1], given, j)
                    else:
                        score = pending[j] if before else self.score(j, layer)
                    self.select(j, score)
                if before and cut == i + 1:
                    pending[j] = self.score(j, layer)
            states = torch.stack([t.state for t in self.tokens])
            given = states
            states = run_layer(self.model, layer, states, self.positions())
            for token, state in zip(self.tokens, states, strict=True):
                token.state = state
        last = [t.state for t in self.tokens if t.slot >= self.prompt - 1]
        return torch.stack([self.model.lm_head(text.norm(s)) for s in last])

    # --- scores: one number for each token of the prompt that is there

    def score(self, stage: int, layer: Any) -> Tensor:
        there = [t for t in self.tokens if t.kind != "new"]
        states = torch.stack([t.state for t in there])
        visual = torch.tensor([t.kind == "visual" for t in there])
        positions = self.positions()[: len(there)]
        method = self.plan.method
        if method == "visionzip":
            return self._cls_attention()
        if method in definitions.EARLY:
            return self._early(stage)
        rope = method != "feather"
        logits, _ = attention_map(self.model, layer, states, positions, rope=rope)
        if method == "feather":
            return self._feather(stage, logits, visual, there)
        if method == "sparsevlm-plus":
            rows = [n for n, t in enumerate(there) if t.slot in self.raters]
            return definitions.few_heads(logits.softmax(-1), rows, positions, visual, self.model)
        maps = logits.softmax(-1).mean(0)  # (query, key)
        if method == "sparsevlm":
            rows = [n for n, t in enumerate(there) if t.slot in self.raters]
            return maps[rows].mean(0)
        if method == "fastv" and self.options.get("queries") == "all":
            return maps.mean(0)
        return maps[-1]

    def _early(self, stage: int) -> Tensor:
        """1 at the visual tokens that a method before the decoder chooses."""
        there = [n for n, t in enumerate(self.tokens) if t.kind == "visual"]
        text = [t.state for t in self.tokens if t.kind == "text"]
        states = [self.tokens[n].state for n in there]
        keep = max(1, int(self.plan.stages[stage].keep * self.total + 0.5))
        chosen = definitions.EARLY[self.plan.method](states, text, keep, self)
        score = torch.zeros(self.prompt)
        score[[there[n] for n in chosen]] = 1.0
        return score

    def _dart(self, text: Any, layer: Any, given: Tensor, stage: int) -> Tensor:
        there = [t for t in self.tokens if t.kind != "new"]
        keys = attention_keys(self.model, layer, given, self.positions())[: len(there)]
        output = text.norm(torch.stack([t.state for t in there]))
        visual = [n for n, t in enumerate(there) if t.kind == "visual"]
        keep = max(1, int(self.plan.stages[stage].keep * self.total + 0.5))
        score = torch.zeros(len(there))
        score[definitions.dart(keys, output, visual, keep)] = 1.0
        return score

    def _raters(self) -> set[int]:
        visual = torch.stack([t.state for t in self.tokens if t.kind == "visual"])
        end = max(t.slot for t in self.tokens if t.kind == "visual")
        text = [t for t in self.tokens if t.kind == "text" and t.slot > end]
        share = (visual @ torch.stack([t.state for t in text]).T).softmax(-1).mean(0)
        return {t.slot for t, s in zip(text, share, strict=True) if s > share.mean()}

    def _feather(self, stage: int, logits: Tensor, visual: Tensor, there: list[Token]) -> Tensor:
        score = torch.zeros(len(there))
        score[visual] = logits[:, -1, visual].softmax(-1).mean(0)
        if stage == 0:
            first = next(t.slot for t in there if t.kind == "visual")
            side, stride = round(self.total**0.5), self.options.get("stride", 3)
            for n, token in enumerate(there):
                row, column = divmod(token.slot - first, side)
                if token.kind == "visual" and row % stride == 0 and column % stride == 0:
                    score[n] += 10
        return score

    def _tower(self) -> tuple[Tensor, Tensor, Tensor]:
        """Attention of CLS over patches, keys, and features of the tower's chosen layer."""
        tower, number = self.model.model.vision_tower, self.model.config.vision_feature_layer
        layers = tower.config.num_hidden_layers
        index = (layers + 1 + number if number < 0 else number) - 1
        before = tower.config._attn_implementation
        tower.set_attn_implementation("eager")
        out = tower(self.pixels, output_attentions=True, output_hidden_states=True)
        tower.set_attn_implementation(before)
        encoder = getattr(tower, "vision_model", tower).encoder
        layer = encoder.layers[index]
        normed = layer.layer_norm1(out.hidden_states[index])
        keys = layer.self_attn.k_proj(normed)[0].unflatten(-1, (layer.self_attn.num_heads, -1))
        return out.attentions[index][0, :, 0].sum(0), keys.mean(1), out.hidden_states[index + 1][0]

    def received(self) -> tuple[list[float], list[float]]:
        """Attention that patches receive at layer 9 of 24, scaled, and at the output layer."""
        tower, number = self.model.model.vision_tower, self.model.config.vision_feature_layer
        layers = tower.config.num_hidden_layers
        index = (layers + 1 + number if number < 0 else number) - 1
        before = tower.config._attn_implementation
        tower.set_attn_implementation("eager")
        maps = tower(self.pixels, output_attentions=True).attentions
        tower.set_attn_implementation(before)
        middle = max(1, round(9 / 24 * layers)) - 1
        return tuple(maps[n][0].mean((0, 1))[1:].tolist() for n in (middle, index))

    def _cls_attention(self) -> Tensor:
        row = self._tower()[0][1:]
        score = torch.zeros(self.prompt)
        score[[t.slot for t in self.tokens if t.kind == "visual"]] = row
        return score

    # --- selection

    def select(self, stage: int, score: Tensor) -> None:
        keep = max(1, int(self.plan.stages[stage].keep * self.total + 0.5))
        merge = int(self.plan.stages[stage].merge * self.total + 0.5)
        numbers = [n for n, t in enumerate(self.tokens) if t.kind == "visual"]
        ranked = sorted(numbers, key=lambda n: (-score[n].item(), n))
        kept, dropped = sorted(ranked[:keep]), ranked[keep:]
        self.kept.append([self.tokens[n].slot for n in kept if not self.tokens[n].merged])
        visual = [self.tokens[n] for n in kept]
        if self.plan.method == "sparsevlm" and merge:
            visual = self._place(visual, self._recycle(dropped, merge))
        if self.plan.method == "pool":
            cells = definitions.cells(self.total, keep)
            states = torch.stack([self.tokens[n].state for n in numbers])
            visual = [
                Token(states[members].mean(0), self.tokens[numbers[members[0]]].slot, "visual")
                for members in cells
            ]
        if self.plan.method == "visionzip":
            visual = self._contextual(visual, sorted(dropped), merge - 1)
        first, last = numbers[0], numbers[-1]
        self.tokens = self.tokens[:first] + visual + self.tokens[last + 1 :]

    def _place(self, visual: list[Token], merged: list[Token]) -> list[Token]:
        if self.compacts:
            return visual + merged
        return sorted([*visual, *merged], key=lambda t: t.slot)

    def _recycle(self, dropped: list[int], clusters: int) -> list[Token]:
        pool = [self.tokens[n] for n in dropped[: int(0.3 * len(dropped)) + 1]]
        assert clusters == int(len(pool) / 10) + 1, "the plan's count is not what is published"
        size = len(pool)
        states = torch.stack([t.state for t in pool])
        distance = torch.zeros(size, size)
        for a in range(size):
            for b in range(size):
                distance[a, b] = (states[a] - states[b]).norm() / states.shape[1] ** 0.5
        density = [
            (-(distance[a].sort().values[:clusters] ** 2).mean()).exp().item() for a in range(size)
        ]
        delta = []
        for a in range(size):
            denser = [distance[a, b].item() for b in range(size) if density[b] > density[a]]
            delta.append(min(denser) if denser else distance.max().item())
        order = sorted(range(size), key=lambda a: -delta[a] * density[a])
        centres = order[:clusters]
        groups: dict[int, list[int]] = {c: [c] for c in centres}
        for a in range(size):
            if a not in groups:
                groups[min(centres, key=lambda c: distance[a, c].item())].append(a)
        return [Token(states[groups[c]].mean(0), pool[c].slot, "visual", True) for c in centres]

    def _contextual(self, kept: list[Token], rest: list[int], count: int) -> list[Token]:
        _, keys, features = self._tower()
        first = min(t.slot for t in self.tokens if t.kind == "visual")
        patch = [self.tokens[n].slot - first for n in rest]
        metric = torch.nn.functional.normalize(keys[1:][patch], dim=-1)
        hidden = features[1:][patch]
        step = max(1, len(rest) // count)
        targets = list(range(0, len(rest), step))[:count]
        joined: dict[int, list[int]] = {t: [] for t in targets}
        for r in range(len(rest)):
            if r not in joined:
                similar = [(metric[r] @ metric[t]).item() for t in targets]
                joined[targets[similar.index(max(similar))]].append(r)
        merged = [
            hidden[t] + (hidden[others].mean(0) if others else 0) for t, others in joined.items()
        ]
        project = self.model.model.multi_modal_projector
        cls = Token(project(features[:1])[0], -1, "visual")
        extra = [Token(project(m[None])[0], -1, "visual") for m in merged]
        return [cls, *kept, *extra]


@pytest.fixture(scope="session")
def reference() -> Callable[..., Reference]:
    """`reference(model, plan, ids, pixels, new)`: a plain run, see `Reference`."""

    def make(model: Any, plan: Any, ids: Tensor, pixels: Tensor, new: Tensor) -> Reference:
        with torch.no_grad():
            return Reference(model, plan, ids, pixels, new)

    return make


@torch.no_grad()
def _generate(model: Any, inputs: dict[str, Tensor], plan: Any = None, **options: Any) -> Any:
    settings = {
        "max_new_tokens": 4,
        "min_new_tokens": 4,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
        **options,
    }
    if plan is None:
        return model.generate(**inputs, **settings)
    trace = options.pop("on_stage", None)
    settings.pop("on_stage", None)
    with prune(model, plan, on_stage=trace):
        return model.generate(**inputs, **settings)


@pytest.fixture(scope="session")
def generate() -> Callable[..., Any]:
    """`generate(model, inputs, plan=None, on_stage=None)`: greedy, 4 tokens, with raw logits."""
    return _generate
