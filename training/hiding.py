"""Hide visual tokens from the question at some layers while training, as dropout of looks.

A decoder that always sees everything settles each look-up in the first layer that can do it, and
later layers stop looking. Layers that are blind now and then make look-ups happen again at several
depths, as they do in large models.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from swiftprof.core.stages import BASE_LAYER
from training.batches import Asked

LATE_SHARE, LATE_LAYER, LATE_HIDDEN = 0.5, 7, (0.8, 0.9, 1.0)
"""While joining: in half of the batches most visual tokens are hidden in layers 1..7."""

LATE, LATEST, BLIND = 0.65, 9, 0.3
"""While learning to look: some rows see everything; of the others 65 % see nothing before a layer
drawn from 2..9, and every layer is blind with probability 0.3."""

THIN = (0.1, 0.5)
"""Share of the rest that a thinned row keeps; layers 1 and 2 see everything."""


def late_tokens(rng: random.Random, layers: int, images: int, rows: int, tokens: int) -> Tensor:
    """(layers, rows, tokens) bool: one batch's hidden tokens while joining."""
    hidden = np.zeros((layers, rows, tokens), bool)
    if rng.random() < LATE_SHARE:
        share, noise = rng.choice(LATE_HIDDEN), np.random.default_rng(rng.getrandbits(32))
        hidden[:LATE_LAYER] = (noise.random((images, tokens)) < share).repeat(rows // images, 0)
    return torch.from_numpy(hidden)


def blind_layers(rng: random.Random, layers: int, rows: int, clear: float) -> Tensor:
    """(layers, rows) bool: at which layers each row sees no visual token.

    Args:
        clear: share of the rows that see everything at every layer.
    """
    noise = np.random.default_rng(rng.getrandbits(32))
    blind = noise.random((layers, rows)) < BLIND
    first = np.where(noise.random(rows) < LATE, noise.integers(2, LATEST + 1, rows), 1)
    blind |= np.arange(1, layers + 1)[:, None] < first
    blind[:, noise.random(rows) < clear] = False
    return torch.from_numpy(blind)


def thinned(rng: random.Random, layers: int, asked: Asked, share: float) -> Tensor:
    """(layers, R, patches) bool: in some rows much of what the question is not about is hidden.

    Without it, questions that weigh the whole picture (how many, is there) break when background
    is pruned: a softmax over fewer tokens gives each of them more.

    Args:
        share: share of the rows; each keeps 10 to 50 % of the rest, the same at layers 3..L.
    """
    noise = np.random.default_rng(rng.getrandbits(32))
    rows, patches = asked.named.shape
    kept = noise.uniform(*THIN, (rows, 1))
    lost = (noise.random((rows, patches)) > kept) & (noise.random((rows, 1)) < share)
    hidden = torch.from_numpy(lost) & ~(asked.named | asked.target)
    return hidden & (torch.arange(layers) >= BASE_LAYER)[:, None, None]
