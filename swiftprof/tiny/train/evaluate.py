"""Accuracy per kind of question on held-out scenes, while training."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.graph import Scene, draw_scene
from swiftprof.tiny.scenes.questions import Question, ask
from swiftprof.tiny.train.batches import prompt_ids
from swiftprof.tiny.train.shared_prefix import shared_prefix_logits

MAX_NEW = 10
BATCH = 64


def box_iou(a: str, b: str) -> float:
    """IoU of two boxes written ``[x1, y1, x2, y2]``; 0 when one cannot be read."""
    try:
        p, q = ([float(v) for v in t.strip("[] ").split(",")] for t in (a, b))
    except ValueError:
        return 0.0
    if len(p) != 4 or len(q) != 4:
        return 0.0
    w = min(p[2], q[2]) - max(p[0], q[0])
    h = min(p[3], q[3]) - max(p[1], q[1])
    both = max(0.0, w) * max(0.0, h)
    union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - both
    return both / union if union > 0 else 0.0


@torch.no_grad()
def evaluate(
    model: LlavaForConditionalGeneration,
    features: Callable[[list[Scene]], Tensor],
    mix: dict[str, float],
    n: int,
) -> dict[str, float]:
    """Greedy answers to n questions; share right per kind (boxes: IoU over 0.5)."""
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
                hits[question.kind].append(float(box_iou(answer, question.answer) > 0.5))
            else:
                hits[question.kind].append(float(answer == question.answer))
    return {k: round(sum(v) / len(v), 3) for k, v in sorted(hits.items())}
