"""Accuracy per kind of question on held-out scenes, while training."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from swiftprof.data.scoring.boxes import acc_at_half
from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.graph import Scene, draw_scene
from swiftprof.tiny.scenes.questions import Question, ask
from training.batches import prompt_ids
from training.shared_prefix import shared_prefix_logits

MAX_NEW = 10
BATCH = 64


@torch.no_grad()
def evaluate(
    model: LlavaForConditionalGeneration,
    features: Callable[[list[Scene]], Tensor],
    mix: dict[str, float],
    n: int,
) -> dict[str, float]:
    """Greedy answers to n questions; share right per kind (boxes: ACC@0.5)."""
    rng = random.Random("evaluate")
    items: list[tuple[Scene, Question]] = []
    while len(items) < n:
        scene = draw_scene(rng)
        items += [(scene, q) for q in ask(rng, scene, mix, 3)]
    hits: dict[str, list[float]] = defaultdict(list)
    eos = vocabulary.index()[vocabulary.EOS]
    for start in range(0, n, BATCH):
        part = items[start : start + BATCH]
        visual = features([s for s, _ in part]).float()
        prompts = [prompt_ids(q) for _, q in part]
        ids = torch.zeros(len(part), max(map(len, prompts)) + MAX_NEW, dtype=torch.long)
        lengths = torch.tensor([len(p) for p in prompts])
        for r, p in enumerate(prompts):
            ids[r, : len(p)] = torch.tensor(p)
        rows = torch.arange(len(part))
        for _ in range(MAX_NEW):
            with torch.autocast("cpu", torch.bfloat16):
                logits = shared_prefix_logits(model, visual, ids)
            ids[rows, lengths] = logits[rows, lengths - 1].argmax(-1)
            lengths += 1
        for r, (_, question) in enumerate(part):
            new = ids[r, len(prompts[r]) : lengths[r]].tolist()
            answer = vocabulary.decode(new[: new.index(eos)] if eos in new else new)
            if question.family == "ref":
                hits[question.kind].append(acc_at_half(answer, question.answer))
            else:
                hits[question.kind].append(float(answer == question.answer))
    return {k: round(sum(v) / len(v), 3) for k, v in sorted(hits.items())}
