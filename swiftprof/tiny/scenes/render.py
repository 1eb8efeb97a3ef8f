"""Draw a scene graph as a 96 x 96 picture on a noisy, shaded background."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swiftprof.tiny.scenes.graph import CANVAS, COLORS, SIGN, Scene, Thing

Color = tuple[int, int, int]


def render(scene: Scene) -> Image.Image:
    """RGB picture of the scene; equal scenes give equal pixels."""
    rng = np.random.default_rng(scene.texture_seed)
    base = rng.uniform(70, 180, 3)
    ramp = np.linspace(-25, 25, CANVAS)
    shade = ramp[None, :, None] * rng.uniform(-1, 1) + ramp[:, None, None] * rng.uniform(-1, 1)
    noise = rng.normal(0, 6, (CANVAS, CANVAS, 3))
    image = Image.fromarray((base + shade + noise).clip(0, 255).astype("uint8"))
    draw = ImageDraw.Draw(image)
    for thing in scene.things:
        if thing.shape == SIGN:
            _draw_sign(draw, thing)
        else:
            _draw_shape(draw, thing.shape, thing.box, COLORS[thing.color])
    return image


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)


def letter_edges(thing: Thing) -> list[float]:
    """x of the left edge of each letter's zone, and of the sign's right edge, in pixels."""
    x0, _, x1, _ = thing.box
    n = len(thing.text)
    return [x0 + (x1 - x0) * i / n for i in range(n + 1)]


def _draw_sign(draw: ImageDraw.ImageDraw, thing: Thing) -> None:
    x0, y0, x1, y1 = thing.box
    fill = COLORS[thing.color]
    draw.rectangle([x0, y0, x1 - 1, y1 - 1], fill=fill)
    ink = (0, 0, 0) if sum(fill) > 330 else (255, 255, 255)
    edges = letter_edges(thing)
    for letter, (a, b) in zip(thing.text, pairwise(edges), strict=True):
        draw.text(((a + b) / 2, (y0 + y1) / 2), letter, fill=ink, font=_font(), anchor="mm")


def _draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, box: tuple[int, int, int, int], fill: Color
) -> None:
    x0, y0, x1, y1 = box
    w = x1 - x0
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    if shape == "circle":
        draw.ellipse([x0, y0, x1 - 1, y1 - 1], fill=fill)
    elif shape == "square":
        draw.rectangle([x0, y0, x1 - 1, y1 - 1], fill=fill)
    elif shape == "triangle":
        draw.polygon([(cx, y0), (x1 - 1, y1 - 1), (x0, y1 - 1)], fill=fill)
    elif shape == "diamond":
        draw.polygon([(cx, y0), (x1 - 1, cy), (cx, y1 - 1), (x0, cy)], fill=fill)
    elif shape == "ring":
        draw.ellipse([x0, y0, x1 - 1, y1 - 1], outline=fill, width=max(3, int(w * 0.22)))
    elif shape == "cross":
        t = w * 0.33
        draw.rectangle([cx - t / 2, y0, cx + t / 2, y1 - 1], fill=fill)
        draw.rectangle([x0, cy - t / 2, x1 - 1, cy + t / 2], fill=fill)
    elif shape == "heart":
        draw.ellipse([x0, y0, cx, cy + 1], fill=fill)
        draw.ellipse([cx, y0, x1 - 1, cy + 1], fill=fill)
        draw.polygon([(x0 + 1, cy - 1), (x1 - 2, cy - 1), (cx, y1 - 1)], fill=fill)
    elif shape == "star":
        points = []
        for k in range(10):
            r = w / 2 if k % 2 == 0 else w * 0.2
            a = -math.pi / 2 + k * math.pi / 5
            points.append((cx + r * math.cos(a), cy + r * math.sin(a)))
        draw.polygon(points, fill=fill)
    else:
        raise ValueError(f"unknown shape {shape!r}")
