"""Muon for the matrices of the layers, AdamW for the rest; warm-up, constant, linear decay."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

WARMUP = 100


class Optimizers:
    """Several optimizers with one schedule: ``rates`` are the peak learning rates."""

    def __init__(self, groups: Iterable[tuple[nn.Module, float]], steps: int, decay: float) -> None:
        self.steps, self.decay = steps, decay
        self.all: list[torch.optim.Optimizer] = []
        self.rates: list[float] = []
        for module, rate in groups:
            matrices: list[nn.Parameter] = []
            rest: list[nn.Parameter] = []
            for name, p in module.named_parameters():
                hidden = p.dim() == 2 and "layers." in name and "embed" not in name
                (matrices if hidden else rest).append(p)
            if matrices:
                self._add(
                    torch.optim.Muon(
                        matrices,
                        lr=rate,
                        momentum=0.95,
                        weight_decay=0.05,
                        adjust_lr_fn="match_rms_adamw",
                    ),
                    rate,
                )
            self._add(torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.01), rate)
        self.parameters = [p for o in self.all for g in o.param_groups for p in g["params"]]

    def _add(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        self.all.append(optimizer)
        self.rates.append(rate)

    def factor(self, step: int) -> float:
        done = step / self.steps
        tail = 1.0 if done < 1 - self.decay else max(0.03, (1 - done) / self.decay)
        return min(1.0, (step + 1) / WARMUP) * tail

    def step(self, step: int, loss: torch.Tensor) -> None:
        """One update of every parameter from this loss, gradient norm clipped to 1."""
        for optimizer, rate in zip(self.all, self.rates, strict=True):
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate * self.factor(step)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.parameters if p.grad is not None], 1.0)
        for optimizer in self.all:
            optimizer.step()
