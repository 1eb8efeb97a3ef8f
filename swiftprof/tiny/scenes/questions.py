"""Questions about a scene and their answers, straight from the scene graph.

Every question has a ``family`` (which data set it belongs to: ``ref``, ``text`` or ``qa``) and a
``kind`` (what has to be looked up). Kinds that end in ``-rel`` need two look-ups: find the named
thing, then the thing beside it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from swiftprof.tiny.scenes.graph import (
    CANVAS,
    COLORS,
    DIRECTIONS,
    KINDS,
    SIGN,
    Scene,
    Thing,
)


@dataclass(frozen=True)
class Question:
    """``named`` are the things its words point at, ``target`` the one that the answer is about."""

    family: str
    kind: str
    text: str
    answer: str
    target: Thing | None = None
    named: tuple[Thing, ...] = ()


Maker = Callable[[random.Random, Scene], "Question | None"]


def box_text(box: tuple[int, int, int, int]) -> str:
    """``[x1, y1, x2, y2]`` as fractions of the side, two decimals."""
    return "[" + ", ".join(f"{v / CANVAS:.2f}" for v in box) + "]"


def _beside(rng: random.Random, scene: Scene) -> tuple[str, Thing, Thing] | None:
    """(phrase, target, neighbour): a thing named by its neighbour."""
    anchor = rng.choice(scene.things)
    direction = rng.choice(list(DIRECTIONS))
    target = scene.neighbour(anchor, direction)
    return None if target is None else (f"{direction} the {anchor.name}", target, anchor)


def _extreme(
    rng: random.Random, scene: Scene, shape: str | None
) -> tuple[str, Thing, list[Thing]] | None:
    """(phrase, target, all of them): leftmost or rightmost of several things of one shape."""
    shape = shape or rng.choice(scene.things).shape
    same = scene.matching(shape=shape)
    if len(same) < 2:
        return None
    side = rng.choice(("leftmost", "rightmost"))
    edges = sorted((t.box[0] + t.box[2], i) for i, t in enumerate(same))
    first, second = (edges[0], edges[1]) if side == "leftmost" else (edges[-1], edges[-2])
    if abs(first[0] - second[0]) < 16:  # centres closer than 8 pixels: not clear to see
        return None
    return f"the {side} {shape}", same[first[1]], same


def ref_name(rng: random.Random, scene: Scene) -> Question | None:
    t = rng.choice(scene.things)
    phrases = [f"the {t.name}"] * 2
    if scene.only(shape=t.shape):
        phrases.append(f"the {t.shape}")
    if scene.only(color=t.color):
        phrases.append(f"the {t.color} thing")
    return Question("ref", "ref-name", f"Where is {rng.choice(phrases)}?", box_text(t.box), t, (t,))


def ref_extreme(rng: random.Random, scene: Scene) -> Question | None:
    found = _extreme(rng, scene, None)
    if found is None:
        return None
    phrase, t, same = found
    text = f"Where is {phrase}?"
    return Question("ref", "ref-extreme", text, box_text(t.box), t, tuple(same))


def ref_rel(rng: random.Random, scene: Scene) -> Question | None:
    found = _beside(rng, scene)
    if found is None:
        return None
    phrase, t, anchor = found
    text = f"Where is the thing {phrase}?"
    return Question("ref", "ref-rel", text, box_text(t.box), t, (anchor,))


def text_name(rng: random.Random, scene: Scene) -> Question | None:
    signs = scene.matching(shape=SIGN)
    if not signs:
        return None
    t = rng.choice(signs)
    return Question("text", "text-name", f"What is written on the {t.name}?", t.text, t, (t,))


def text_extreme(rng: random.Random, scene: Scene) -> Question | None:
    found = _extreme(rng, scene, SIGN)
    if found is None:
        return None
    phrase, t, same = found
    text = f"What is written on {phrase}?"
    return Question("text", "text-extreme", text, t.text, t, tuple(same))


def text_rel(rng: random.Random, scene: Scene) -> Question | None:
    options = []
    for anchor in scene.things:
        for direction in DIRECTIONS:
            t = scene.neighbour(anchor, direction)
            if t is not None and t.shape == SIGN:
                options.append((direction, anchor, t))
    if not options:
        return None
    direction, anchor, t = rng.choice(options)
    text = f"What is written on the sign {direction} the {anchor.name}?"
    return Question("text", "text-rel", text, t.text, t, (anchor,))


def qa_color(rng: random.Random, scene: Scene) -> Question | None:
    t = rng.choice(scene.things)
    if not scene.only(shape=t.shape):
        return None
    return Question("qa", "color", f"What color is the {t.shape}?", t.color, t, (t,))


def qa_shape(rng: random.Random, scene: Scene) -> Question | None:
    t = rng.choice(scene.things)
    if not scene.only(color=t.color):
        return None
    return Question("qa", "shape", f"What shape is the {t.color} thing?", t.shape, t, (t,))


def _asked_beside(
    rng: random.Random, scene: Scene, attribute: Literal["color", "shape"]
) -> Question | None:
    found = _beside(rng, scene)
    if found is None:
        return None
    phrase, t, anchor = found
    text = f"What {attribute} is the thing {phrase}?"
    return Question("qa", f"{attribute}-rel", text, getattr(t, attribute), t, (anchor,))


def qa_color_rel(rng: random.Random, scene: Scene) -> Question | None:
    return _asked_beside(rng, scene, "color")


def qa_shape_rel(rng: random.Random, scene: Scene) -> Question | None:
    return _asked_beside(rng, scene, "shape")


def qa_count(rng: random.Random, scene: Scene) -> Question | None:
    if rng.random() < 0.5:
        shape = rng.choice(scene.things).shape if rng.random() < 0.8 else rng.choice(KINDS)
        found = tuple(scene.matching(shape=shape))
        text = f"How many {plural(shape)} are there?"
        return Question("qa", "count", text, str(len(found)), named=found)
    color = rng.choice(scene.things).color if rng.random() < 0.8 else rng.choice(list(COLORS))
    found = tuple(scene.matching(color=color))
    text = f"How many {color} things are there?"
    return Question("qa", "count", text, str(len(found)), named=found)


def qa_exists(rng: random.Random, scene: Scene) -> Question | None:
    """Half yes; the no's share a colour or a shape with a thing that is there."""
    t = rng.choice(scene.things)
    color, shape, answer = t.color, t.shape, "yes"
    if rng.random() < 0.5:
        answer = "no"
        if rng.random() < 0.5:
            shape = rng.choice([k for k in KINDS if not scene.matching(color=color, shape=k)])
        else:
            color = rng.choice([c for c in COLORS if not scene.matching(color=c, shape=shape)])
    article = "an" if color[0] in "aeiou" else "a"
    named = tuple(scene.matching(color=color, shape=shape))
    return Question("qa", "exists", f"Is there {article} {color} {shape}?", answer, named=named)


def plural(shape: str) -> str:
    return "crosses" if shape == "cross" else shape + "s"


MAKERS: dict[str, Maker] = {
    "ref-name": ref_name,
    "ref-extreme": ref_extreme,
    "ref-rel": ref_rel,
    "text-name": text_name,
    "text-extreme": text_extreme,
    "text-rel": text_rel,
    "color": qa_color,
    "shape": qa_shape,
    "color-rel": qa_color_rel,
    "shape-rel": qa_shape_rel,
    "count": qa_count,
    "exists": qa_exists,
}


def ask(rng: random.Random, scene: Scene, mix: dict[str, float], n: int) -> list[Question]:
    """Draw n questions from a mix of kinds (kind → weight); impossible draws are drawn again."""
    kinds, weights = list(mix), list(mix.values())
    out: list[Question] = []
    for _ in range(100 * n):
        if len(out) == n:
            break
        question = MAKERS[rng.choices(kinds, weights)[0]](rng, scene)
        if question is not None:
            out.append(question)
    return out
