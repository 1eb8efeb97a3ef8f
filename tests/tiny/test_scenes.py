"""Scenes: picture, questions and labels come from one graph and agree."""

from __future__ import annotations

import random

import numpy as np
import pytest

from swiftprof.data.scoring.boxes import parse_box
from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.graph import CANVAS, COLORS, KINDS, SIGN, scene_from_seed
from swiftprof.tiny.scenes.labels import PATCH, SIDE, patch_labels
from swiftprof.tiny.scenes.questions import MAKERS, ask
from swiftprof.tiny.scenes.render import render

SCENES = [scene_from_seed(f"test scene {i}") for i in range(40)]


def test_equal_seeds_give_equal_scenes_and_pixels():
    again = scene_from_seed("test scene 3")
    assert again == SCENES[3]
    assert np.array_equal(np.asarray(render(again)), np.asarray(render(SCENES[3])))
    assert again != SCENES[4]


def test_things_lie_inside_and_do_not_overlap():
    for scene in SCENES:
        assert 2 <= len(scene.things) <= 9
        assert len({(t.color, t.shape) for t in scene.things}) == len(scene.things)
        covered = np.zeros((CANVAS, CANVAS), int)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            assert 0 <= x0 < x1 <= CANVAS
            assert 0 <= y0 < y1 <= CANVAS
            covered[y0:y1, x0:x1] += 1
        assert covered.max() == 1


def test_pixels_show_the_colour_of_the_thing():
    for scene in SCENES[:10]:
        picture = np.asarray(render(scene)).astype(int)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            inside = picture[y0:y1, x0:x1].reshape(-1, 3)
            near = np.abs(inside - np.array(COLORS[thing.color])).max(1) == 0
            assert near.mean() > 0.2, thing


def test_labels_name_the_thing_that_covers_the_patch():
    for scene in SCENES[:10]:
        classes, boxes = patch_labels(scene)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            centre = ((y0 + y1) // 2 // PATCH) * SIDE + (x0 + x1) // 2 // PATCH
            assert classes[centre, 0] == list(COLORS).index(thing.color) + 1
            assert classes[centre, 1] == KINDS.index(thing.shape) + 1
            assert boxes[centre] == pytest.approx([v / CANVAS for v in thing.box])
        signs = [t for t in scene.things if t.shape == SIGN]
        letters = {
            (int(c[0]), int(c[3])): int(c[2]) for c in classes if c[3]
        }  # (colour, place) → letter
        for sign in signs:
            color = list(COLORS).index(sign.color) + 1
            seen = [letters[color, place] for place in (1, 2, 3)]
            wanted = [vocabulary.LETTERS.index(letter) + 1 for letter in sign.text]
            assert seen == wanted


def _beside(scene, direction, anchor):
    """Who stands in the next cell, read off the boxes' centres instead of the graph's cells."""
    cell = CANVAS // 4
    step = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[direction]

    def cells(t):
        columns = {x // cell for x in range(t.box[0], t.box[2])}
        if t.shape != SIGN:
            columns = {(t.box[0] + t.box[2]) // 2 // cell}
        return {(c, (t.box[1] + t.box[3]) // 2 // cell) for c in columns}

    wanted = {(c + step[0], r + step[1]) for c, r in cells(anchor)} - cells(anchor)
    return [t for t in scene.things if t is not anchor and cells(t) & wanted]


def test_answers_follow_from_the_scene():
    seen = set()
    for number, scene in enumerate(SCENES):
        for kind in MAKERS:
            for q in ask(random.Random(number), scene, {kind: 1.0}, 3):
                seen.add(q.kind)
                assert q.kind == kind
                if q.family == "ref":
                    box = parse_box(q.answer)
                    assert box == pytest.approx([v / CANVAS for v in q.target.box], abs=0.0051)
                elif q.family == "text":
                    assert q.answer == q.target.text
                elif kind.startswith("color"):
                    assert q.answer == q.target.color
                elif kind.startswith("shape"):
                    assert q.answer == q.target.shape
                elif kind == "exists":
                    words = q.text.rstrip("?").split()
                    there = any(t.color == words[-2] and t.shape == words[-1] for t in scene.things)
                    assert q.answer == ("yes" if there else "no")
                elif kind == "count":
                    word = q.text.split()[2]
                    n = sum(
                        t.color == word or t.shape in (word[:-1], word[:-2]) for t in scene.things
                    )
                    assert q.answer == str(n)
                if kind.endswith("-rel"):
                    direction = next(
                        d for d in ("left of", "right of", "above", "below") if d in q.text
                    )
                    color, shape = q.text.rstrip("?").split()[-2:]
                    anchor = next(t for t in scene.things if (t.color, t.shape) == (color, shape))
                    assert _beside(scene, direction, anchor) == [q.target]
                    assert q.named == (anchor,)
                elif kind == "exists":
                    assert [t.name for t in q.named] == [
                        t.name for t in scene.things if t.name in q.text
                    ]
                elif kind == "count":
                    assert len(q.named) == int(q.answer)
                else:
                    assert q.target in q.named
                    assert (len(q.named) > 1) == kind.endswith("-extreme")
    assert seen == set(MAKERS)


def test_yes_and_no_are_balanced():
    answers = [
        q.answer
        for i, scene in enumerate(SCENES)
        for q in ask(random.Random(i), scene, {"exists": 1.0}, 10)
    ]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6


def test_every_word_is_in_the_vocabulary():
    unknown = vocabulary.index()[vocabulary.UNK]
    for number, scene in enumerate(SCENES):
        for q in ask(random.Random(number), scene, dict.fromkeys(MAKERS, 1.0), 12):
            assert unknown not in vocabulary.encode(q.text)
            assert vocabulary.decode(list(vocabulary.encode(q.answer))) == q.answer
