"""How likely an answer is under a plan: one teacher-forced pass, no decoding.

The answer stands behind the prompt and goes through all layers with what the plan leaves of the
prompt; the last prompt token judges, as when generating. The score of a sample is the geometric
mean of the probabilities of its answer's tokens, in (0, 1].

Candidates share work: the vision tower and the layers before the first cut run once for each batch,
and every candidate starts from the hidden states that enter the layer where it begins to differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from swiftprof.core.stages import cut_layers, judging_layers
from swiftprof.methods import create
from swiftprof.methods.base import Method
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.record import with_answers
from swiftprof.profiling.steps import Steps
from swiftprof.runtime.decoder import Decoder
from swiftprof.runtime.hooks import Hooks


@dataclass(frozen=True)
class Forced:
    """A batch of B prompts with their answers behind them, run as far as candidates agree.

    Attributes:
        inputs: of the model, answers included.
        lengths: `(B,)`, tokens of each prompt, padding excluded.
        answers: `(B, T)` ids, -1 behind the end of a shorter answer.
        hidden: by 0-based layer, what enters it: `(B, P + T, D)`.
        rope: cos and sin of all slots.
    """

    inputs: dict[str, Any]
    lengths: Tensor
    answers: Tensor
    hidden: dict[int, Tensor]
    rope: tuple[Tensor, Tensor]


def begins(plan: Plan | None, num_layers: int) -> int:
    """0-based index of the first layer where a plan differs from the unpruned model."""
    if plan is None:
        return num_layers - 1
    method = create(plan.method, plan.options)
    if type(method).prepare is not Method.prepare:
        return 0
    judges = judging_layers(plan.stages, method.scoring, method.first)
    return min(judges[0], cut_layers(plan.stages, method.first)[0])


@torch.inference_mode()
def run_shared(
    model: nn.Module, inputs: dict[str, Any], answers: Tensor, wanted: Collection[int]
) -> Forced:
    """Run a left-padded batch up to the last layer that is wanted.

    Args:
        model: the model.
        inputs: of the model, as its processor makes them.
        answers: `(B, T)` ids of the answers, -1 behind shorter ones.
        wanted: 0-based layers whose input is kept.
    """
    decoder = Steps(model).decoder
    given = with_answers(inputs, answers)
    with _tap([decoder.layers[i] for i in sorted(wanted)]) as seen, suppress(_Enough):
        model(**given, use_cache=False)
    return Forced(
        inputs=given,
        lengths=inputs["attention_mask"].sum(1),
        answers=answers,
        hidden=dict(zip(sorted(wanted), (hidden for hidden, _ in seen), strict=True)),
        rope=seen[-1][1],
    )


@torch.inference_mode()
def answer_likelihood(steps: Steps, batch: Forced, plan: Plan | None) -> list[float]:
    """Score of each row's answer under a plan; None is the unpruned model."""
    decoder = steps.decoder
    start = begins(plan, len(decoder.layers))
    hidden, answers = batch.hidden[start].clone(), batch.answers  # layers may write over it
    valid = batch.inputs["attention_mask"].bool()
    given: dict[str, Any] = {
        "attention_mask": steps.mask(hidden, valid),
        "position_embeddings": batch.rope,
        "position_ids": None,
    }
    hooks = None
    if plan is not None:
        method = create(plan.method, plan.options)
        hooks = Hooks(_additive(decoder), method, plan.stages, batch.lengths, None, None)
        hooks.before_model(decoder.root, (), batch.inputs)
    for i in range(start, len(decoder.layers)):
        changed = None
        if hooks is not None:
            changed = hooks.before_layer(i, decoder.layers[i], (hidden,), given)
        (hidden,), now = changed or ((hidden,), given)
        wanted = answers.shape[1] + 1 if i == len(decoder.layers) - 1 else None
        hidden = steps.run(
            i, hidden, now["position_embeddings"], now["attention_mask"], _NO_CACHE, wanted
        )
    log = torch.log_softmax(steps.logits(hidden[:, -answers.shape[1] - 1 : -1]).float(), -1)
    one = log.gather(2, answers.clamp_min(0)[..., None])[..., 0]
    counted = answers >= 0
    mean = torch.where(counted, one, 0.0).sum(1) / counted.sum(1).clamp_min(1)
    scores: list[float] = mean.exp().tolist()
    return scores


class _NoCache:
    """Stands for a cache: nothing comes after the one pass."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return keys, values


_NO_CACHE = _NoCache()


class _Additive(Decoder):
    """A decoder whose masks are added to the logits, as `Steps.run` takes them."""

    @property
    def mask_kind(self) -> str:
        kind = super().mask_kind
        return "eager" if kind == "sdpa" else kind


def _additive(decoder: Decoder) -> Decoder:
    return _Additive(**{each.name: getattr(decoder, each.name) for each in fields(decoder)})


class _Enough(Exception):
    """The layers that were wanted have been reached."""


Seen = list[tuple[Tensor, tuple[Tensor, Tensor]]]


@contextmanager
def _tap(layers: list[nn.Module]) -> Iterator[Seen]:
    """Keep what enters some layers, and stop at the last of them."""
    seen: Seen = []

    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        seen.append((hidden, kwargs["position_embeddings"]))
        if len(seen) == len(layers):
            raise _Enough

    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
