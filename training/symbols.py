"""Visual tokens made of labels: lets the decoder learn before the tower can see."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from swiftprof.tiny.scenes.labels import CLASSES, PATCHES

FREQUENCIES = 6


class SymbolEmbedding(nn.Module):
    """Sum of embeddings of a patch's labels, its place, and Fourier features of its box."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.classes = nn.ModuleList(nn.Embedding(n, hidden) for n in CLASSES)
        self.place = nn.Embedding(PATCHES, hidden)
        self.box = nn.Linear(4 * 2 * FREQUENCIES, hidden, bias=False)
        with torch.no_grad():
            for table in (*self.classes, self.place):
                table.weight.normal_(0, 0.4)

    def forward(self, classes: Tensor, boxes: Tensor) -> Tensor:
        """(B, patches, 4) int64 and (B, patches, 4) float in 0..1 → (B, patches, hidden)."""
        angle = torch.cat([boxes * math.pi * 2**k / 2 for k in range(FREQUENCIES)], -1)
        waves = self.box(torch.cat([angle.sin(), angle.cos()], -1))
        out = self.place.weight + waves * (classes[..., :1] > 0)
        for i, table in enumerate(self.classes):
            out = out + table(classes[..., i])
        return out
