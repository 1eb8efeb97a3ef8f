"""Scene graphs: coloured shapes and lettered signs on a loose grid.

A scene is drawn from one seed string and is the only source of its picture, of its
questions and of the dense labels, so the three can never disagree.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

CANVAS = 96
"""Side of a scene in pixels."""
GRID = 4
CELL = CANVAS // GRID

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 190),
    "orange": (240, 140, 30),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "ring", "heart")
SIGN = "sign"
KINDS = (*SHAPES, SIGN)
LETTERS = "ABCDEFHKLMNPRSTUVXYZ"
LETTERS_PER_SIGN = 3
DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}
SIGN_SIZE = (36, 16)


@dataclass(frozen=True)
class Thing:
    """One object: ``box`` is (x0, y0, x1, y1) in pixels, ``cells`` the grid cells it stands in."""

    color: str
    shape: str
    box: tuple[int, int, int, int]
    cells: tuple[tuple[int, int], ...]
    text: str = ""

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]
    texture_seed: int

    def neighbour(self, thing: Thing, direction: str) -> Thing | None:
        """The one thing in the adjacent cells on that side, or None when there is none or two."""
        dr, dc = DIRECTIONS[direction]
        wanted = {(r + dr, c + dc) for r, c in thing.cells} - set(thing.cells)
        found = [t for t in self.things if t is not thing and wanted & set(t.cells)]
        return found[0] if len(found) == 1 else None

    def only(self, *, color: str | None = None, shape: str | None = None) -> bool:
        """Whether exactly one thing has this colour and shape."""
        return len(self.matching(color=color, shape=shape)) == 1

    def matching(self, *, color: str | None = None, shape: str | None = None) -> list[Thing]:
        return [
            t
            for t in self.things
            if (color is None or t.color == color) and (shape is None or t.shape == shape)
        ]


def draw_scene(rng: random.Random) -> Scene:
    """Draw 5 to 9 things with distinct (colour, shape) pairs from a small palette.

    The palette has 4 or 5 colours and shapes, so nearly every thing has decoys that share its
    colour or its shape.
    """
    colors = rng.sample(list(COLORS), rng.randint(4, 5))
    shapes = rng.sample(SHAPES, rng.randint(3, 5))
    pairs = [(c, s) for c in colors for s in shapes]
    rng.shuffle(pairs)
    sign_colors = rng.sample(colors, min(len(colors), rng.choice((1, 1, 2, 2, 3))))
    wanted = rng.randint(5, 9)
    free = {(r, c) for r in range(GRID) for c in range(GRID)}
    things: list[Thing] = []
    for color in sign_colors:
        slots = sorted((r, c) for r, c in free if (r, c + 1) in free)
        if not slots:
            break
        r, c = rng.choice(slots)
        things.append(_sign(rng, color, r, c))
        free -= {(r, c), (r, c + 1)}
    for color, shape in pairs[: max(0, wanted - len(things))]:
        if not free:
            break
        r, c = rng.choice(sorted(free))
        things.append(_shape(rng, color, shape, r, c))
        free.discard((r, c))
    rng.shuffle(things)
    return Scene(tuple(things), rng.getrandbits(32))


def scene_from_seed(seed: str) -> Scene:
    return draw_scene(random.Random(seed))


def _sign(rng: random.Random, color: str, r: int, c: int) -> Thing:
    w, h = SIGN_SIZE
    x = c * CELL + rng.randint(1, 2 * CELL - w - 1)
    y = r * CELL + rng.randint(1, CELL - h - 1)
    text = "".join(rng.choice(LETTERS) for _ in range(LETTERS_PER_SIGN))
    return Thing(color, SIGN, (x, y, x + w, y + h), ((r, c), (r, c + 1)), text)


def _shape(rng: random.Random, color: str, shape: str, r: int, c: int) -> Thing:
    size = rng.randint(12, 20)
    x = c * CELL + rng.randint(1, CELL - size - 1)
    y = r * CELL + rng.randint(1, CELL - size - 1)
    return Thing(color, shape, (x, y, x + size, y + size), ((r, c),))
