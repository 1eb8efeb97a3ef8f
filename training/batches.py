"""Training batches. Batch number ``step`` of a stream is a function of its name: any step can be
made again, in any order, by any process, so training resumes exactly."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.graph import Scene, Thing, draw_scene
from swiftprof.tiny.scenes.labels import PATCHES, covered, patch_labels
from swiftprof.tiny.scenes.questions import Question, ask
from swiftprof.tiny.scenes.render import render

QUESTIONS_PER_SCENE = 8
FORMAT_WEIGHT = 0.05
"""Loss weight of answer tokens that are mere format: brackets, commas, the end."""


@dataclass(frozen=True)
class Asked:
    """Question rows, R = scenes * questions.

    Attributes:
        ids: (R, length) token ids of prompt and answer.
        weight: (R, length) float32, loss weight of each token; 0 for the prompt and padding.
        last: (R,) int64, place of the last prompt token.
        named, target: (R, patches) bool, patches of the things that the question names and of the
            thing that its answer is about.
    """

    ids: torch.Tensor
    weight: torch.Tensor
    last: torch.Tensor
    named: torch.Tensor
    target: torch.Tensor


def scenes(stream: str, step: int, n: int) -> tuple[random.Random, list[Scene]]:
    rng = random.Random(f"{stream}/{step}")
    return rng, [draw_scene(rng) for _ in range(n)]


def labels(batch: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Dense labels (B, patches, 4) int64 and boxes (B, patches, 4) float32."""
    pairs = [patch_labels(s) for s in batch]
    return (
        torch.from_numpy(np.stack([c for c, _ in pairs])),
        torch.from_numpy(np.stack([b for _, b in pairs])),
    )


def pixels(images: list[Image.Image]) -> torch.Tensor:
    """(B, 3, side, side) float32 in -1..1: what the shipped image processor computes."""
    array = np.stack([np.asarray(i) for i in images])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1


def scene_pixels(batch: list[Scene]) -> torch.Tensor:
    return pixels([render(s) for s in batch])


def prompt_ids(question: Question) -> list[int]:
    """The prompt after the image: the question and ``ASSISTANT:``."""
    return [*vocabulary.encode(question.text), vocabulary.index()[vocabulary.ASSISTANT]]


def prefix_ids() -> list[int]:
    """The prompt before the image: ``<s> USER:``."""
    return [vocabulary.index()[t] for t in (vocabulary.BOS, vocabulary.USER)]


def ask_all(
    rng: random.Random,
    batch: list[Scene],
    mix: dict[str, float],
    each: int = QUESTIONS_PER_SCENE,
    multiple: int = 1,
) -> Asked:
    """``each`` rows for each scene, right-padded to a multiple of ``multiple`` tokens."""
    ids = vocabulary.index()
    eos = ids[vocabulary.EOS]
    format_ids = {ids["["], ids["]"], ids[","], eos}
    questions = [q for scene in batch for q in ask(rng, scene, mix, each)]
    rows = [(prompt_ids(q), [*vocabulary.encode(q.answer), eos]) for q in questions]
    if len(rows) != len(batch) * each:
        raise ValueError("a scene of the batch allows too few questions of this mix")
    length = max(len(q) + len(a) for q, a in rows)
    length += -length % multiple  # few different shapes, for compiled layers
    out = torch.zeros(len(rows), length, dtype=torch.long)
    weight = torch.zeros(len(rows), length)
    for r, (q, a) in enumerate(rows):
        out[r, : len(q) + len(a)] = torch.tensor(q + a)
        weight[r, len(q) : len(q) + len(a)] = torch.tensor(
            [FORMAT_WEIGHT if t in format_ids else 1.0 for t in a]
        )
    return Asked(
        out,
        weight,
        last=torch.tensor([len(q) - 1 for q, _ in rows]),
        named=_patches([q.named for q in questions]),
        target=_patches([(q.target,) if q.target else () for q in questions]),
    )


def _patches(things: list[tuple[Thing, ...]]) -> torch.Tensor:
    shown = torch.zeros(len(things), PATCHES, dtype=torch.bool)
    for row, group in zip(shown, things, strict=True):
        row[[i for thing in group for i, _ in covered(thing.box)]] = True
    return shown
