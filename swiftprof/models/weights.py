"""Weights as they were read: whether they are numbers, and which ones they are."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from swiftprof.errors import SwiftprofError

_LOOKED_AT = 64
"""Numbers of each tensor that a fingerprint is made of."""


@torch.no_grad()
def check_weights(model: nn.Module) -> None:
    """Refuse weights with NaN or infinite numbers, which answer nonsense without a sign of it.

    Raises:
        SwiftprofError: with the name of the first such tensor.
    """
    for name, weight in model.named_parameters():
        if weight.is_meta or not weight.is_floating_point() or weight.element_size() < 2:
            continue
        # One number tells: a sum is finite exactly if all are, up to what float32 can hold.
        if bool(weight.sum(dtype=torch.float32).isfinite()) or bool(weight.isfinite().all()):
            continue
        raise SwiftprofError(
            f"{type(model).__name__}: the weights of {name} hold NaN or infinite numbers, so no "
            "answer means anything; download or convert the checkpoint again"
        )


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """A short name of some weights: another one for a model that was trained further.

    A few numbers of every tensor, evenly spread. The same on every device.
    """
    found = hashlib.sha256()
    for name, weight in model.named_parameters():
        found.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        if weight.is_meta or not weight.numel():
            continue
        flat = weight.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // _LOOKED_AT)]
        found.update(some.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
