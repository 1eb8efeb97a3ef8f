"""Resumable training state as safetensors: weights, optimizer moments, the step."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.optim import Optimizers


def save(path: Path, step: int, modules: dict[str, nn.Module], optim: Optimizers | None) -> None:
    """Write atomically: a killed run leaves the previous checkpoint whole."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}/{key}"] = value.detach().clone().contiguous()
    for i, optimizer in enumerate(optim.all if optim else []):
        for j, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optim/{i}/{j}/{key}"] = torch.as_tensor(value).clone().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step)})
    os.replace(partial, path)


def load(path: Path, modules: dict[str, nn.Module], optim: Optimizers | None = None) -> int:
    """Fill modules (and optimizers) from a checkpoint and return its step."""
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for name, module in modules.items():
        prefix = name + "/"
        module.load_state_dict(
            {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        )
    for i, optimizer in enumerate(optim.all if optim else []):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optim/{i}/"):
                _, _, j, field = key.split("/")
                state.setdefault(int(j), {})[field] = value
        if state:
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return step


def weights(path: Path, name: str) -> dict[str, Tensor]:
    """One module's tensors of a checkpoint."""
    prefix = name + "/"
    with safe_open(path, "pt") as file:
        keys = [k for k in file.keys() if k.startswith(prefix)]  # noqa: SIM118
        return {k[len(prefix) :]: file.get_tensor(k) for k in keys}
