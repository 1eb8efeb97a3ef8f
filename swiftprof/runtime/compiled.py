"""Compiled code and hooks: torch.compile looks at a module's hooks once, when it traces them."""

from __future__ import annotations

import sys

from torch import nn

from swiftprof.errors import SwiftprofError


def check_compiled(model: nn.Module) -> None:
    """Refuse a model that was compiled before it was pruned.

    Raises:
        SwiftprofError: a module is compiled, by whichever of the ways that a module shows.
    """
    for module in model.modules():
        forwards = vars(module).get("forward"), type(module).forward
        if (
            type(module).__name__ == "OptimizedModule"
            or vars(module).get("_compiled_call_impl") is not None
            or any(hasattr(forward, "_torchdynamo_orig_callable") for forward in forwards)
        ):
            raise SwiftprofError(
                "a compiled model ignores new hooks: prune the model first and compile it inside"
            )


def forget_compiled() -> None:
    """Have functions compiled around a model traced again, with the hooks that it has then.

    A function that calls a model does not show on the model; nor does what was compiled inside a
    block show that it goes on pruning outside. Nothing is compiled where nobody compiled anything.
    """
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:
        dynamo.reset()
