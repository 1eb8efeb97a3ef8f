"""Definitions of newer peers read slowly: lists, loops, one prompt; nothing of the library."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.cosine_similarity(a.double(), b.double(), dim=0).item()


def divprune(states: list[Tensor], text: list[Tensor], keep: int, run: Any) -> list[int]:
    everyone = range(len(states))
    far = [[1 - cosine(states[i], states[j]) for j in everyone] for i in everyone]
    nearest = [min(far[i][j] for j in everyone if j != i) for i in everyone]
    chosen = [nearest.index(max(nearest))]
    while len(chosen) < keep:
        least = [min(far[i][s] for s in chosen) if i not in chosen else -1 for i in everyone]
        chosen.append(least.index(max(least)))
    return chosen


def cdpruner(states: list[Tensor], text: list[Tensor], keep: int, run: Any) -> list[int]:
    """Greedy maximum of the determinant of the kernel, determinants computed as such."""
    like = [-sum(cosine(x, t) for t in text) / len(text) for x in states]
    relevance = [(q - min(like) + 1e-6) / (max(like) - min(like)) for q in like]
    kernel = torch.tensor(
        [
            [a * cosine(x, y) * b for y, b in zip(states, relevance, strict=True)]
            for x, a in zip(states, relevance, strict=True)
        ],
        dtype=torch.float64,
    )
    chosen: list[int] = []
    while len(chosen) < keep:
        volume = [
            torch.linalg.slogdet(kernel[[*chosen, i]][:, [*chosen, i]])[1].item()
            if i not in chosen
            else float("-inf")
            for i in range(len(states))
        ]
        chosen.append(volume.index(max(volume)))
    return chosen


def vispruner(states: list[Tensor], text: list[Tensor], keep: int, run: Any) -> list[int]:
    attention, _, features = run._tower()
    row, patches = attention[1:].tolist(), features[1:]
    order = sorted(range(len(row)), key=lambda p: -row[p])
    first = int(keep * run.options.get("important", 0.5))
    important, residual, diverse = order[:first], order[first:], keep - first
    while len(residual) > diverse and diverse:
        count = min(8, len(residual) - diverse)
        even, odd = residual[0::2], residual[1::2]
        like = {a: max(cosine(patches[a], patches[b]) for b in odd) for a in even}
        ranked = sorted(even, key=lambda a: -like[a])
        residual = ranked[count:] + odd
    return important + residual[:diverse]


def hiprune(states: list[Tensor], text: list[Tensor], keep: int, run: Any) -> list[int]:
    middle, last = run.received()
    side = round(len(last) ** 0.5)
    chosen: list[int] = []
    for anchor in sorted(range(len(middle)), key=lambda p: -middle[p])[: int(keep / 50 + 0.5)]:
        row, column = divmod(anchor, side)
        steps = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
        for r, c in ((row + down, column + right) for down, right in steps):
            place = min(max(r, 0), side - 1) * side + min(max(c, 0), side - 1)
            if place not in chosen:
                chosen.append(place)
    others = sorted(range(len(last)), key=lambda p: -last[p])
    return chosen + [p for p in others if p not in chosen][: keep - len(chosen)]


def cells(total: int, keep: int) -> list[list[int]]:
    """The tokens of each cell: bands of rows, and cells along each."""
    side, bands = round(total**0.5), int(keep**0.5 + 0.5)
    found: dict[tuple[int, int], list[int]] = {}
    for place in range(total):
        row, column = divmod(place, side)
        band = int(row * bands / side + 1e-9)
        inside = int(keep * (band + 1) / bands + 1e-9) - int(keep * band / bands + 1e-9)
        found.setdefault((band, int(column * inside / side + 1e-9)), []).append(place)
    assert len(found) == keep
    return [found[key] for key in sorted(found)]


def pool(states: list[Tensor], text: list[Tensor], keep: int, run: Any) -> list[int]:
    return [members[0] for members in cells(len(states), keep)]


def dart(keys: Tensor, output: Tensor, visual: list[int], keep: int) -> list[int]:
    norm = keys.abs().sum(-1).tolist()
    behind = [n for n in range(len(norm)) if n > visual[-1]]
    image = sorted(visual, key=lambda n: -norm[n])[:4]
    text = sorted(behind, key=lambda n: -norm[n])[:4]
    pivots = sorted(image + text)
    pool = [n for n in visual if n not in image]
    chosen = list(image)
    each, over = divmod(keep - 4, 8)
    for number, pivot in enumerate(pivots):
        pool.sort(key=lambda n: cosine(output[pivot], output[n]))
        count = each + (number < over)
        chosen, pool = chosen + pool[:count], pool[count:]
    assert len(chosen) == keep
    return chosen


def few_heads(
    maps: Tensor, rows: list[int], positions: list[int], visual: Tensor, model: Any
) -> Tensor:
    """`maps` (heads, query, key) after the softmax; SparseVLM's second version."""
    config = model.config.text_config
    dim = config.hidden_size // config.num_attention_heads
    base = (config.rope_parameters or {}).get("rope_theta", 10000.0)
    ones = torch.ones(dim // 2)
    turned = []
    for position in positions:
        angle = position * base ** (-torch.arange(dim // 2) / (dim // 2))
        cos, sin = angle.cos(), angle.sin()
        turned.append(torch.cat([ones * cos - ones * sin, ones * cos + ones * sin]))
    divided = maps.clone()
    for query in rows:
        for key in range(len(positions)):
            divided[:, query, key] /= (turned[query] @ turned[key]).item() / dim**0.5
    looking = divided[:, rows][:, :, visual].sum((1, 2))
    count = max(1, round(14 / 32 * len(looking)))
    heads = sorted(range(len(looking)), key=lambda h: -looking[h].item())[:count]
    return divided[heads][:, rows].mean((0, 1))


EARLY = {
    "divprune": divprune,
    "cdpruner-embeddings": cdpruner,
    "vispruner": vispruner,
    "hiprune": hiprune,
    "pool": pool,
}
