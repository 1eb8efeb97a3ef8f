"""Pruning methods. One method is one file and one line in `REGISTRY`.

A method says how a budget becomes stages, how good each candidate token is at a stage, whether the
unselected tokens are merged, and whether they come back before the next stage (see `base.Method`).
Everything else, from layouts and masks to caches, is the runtime's and the same for all.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swiftprof.errors import SwiftprofError, did_you_mean

if TYPE_CHECKING:
    from swiftprof.methods.base import Method

__all__ = ["REGISTRY", "create", "method_class"]

REGISTRY: dict[str, str] = {
    "drop": "swiftprof.methods.drop:Drop",
    "fastv": "swiftprof.methods.fastv:FastV",
    "feather": "swiftprof.methods.feather:Feather",
    "merge": "swiftprof.methods.merge:Merge",
    "pdrop": "swiftprof.methods.pdrop:PDrop",
    "random": "swiftprof.methods.random:Random",
    "sparsevlm": "swiftprof.methods.sparsevlm:SparseVLM",
    "swiftvlm": "swiftprof.methods.swiftvlm:SwiftVLM",
    "uniform": "swiftprof.methods.uniform:Uniform",
    "vanilla": "swiftprof.methods.vanilla:Vanilla",
    "visionzip": "swiftprof.methods.visionzip:VisionZip",
}
"""A plan's method name to `module:class`. Importing them does not import torch."""


def method_class(name: str) -> type[Method]:
    """The class behind a method's name.

    Raises:
        SwiftprofError: no method has this name.
    """
    home = REGISTRY.get(name)
    if home is None:
        raise SwiftprofError(f"unknown method '{name}': {did_you_mean(name, REGISTRY)}")
    module, _, attribute = home.partition(":")
    found: type[Method] = getattr(importlib.import_module(module), attribute)
    return found


def create(name: str, options: Mapping[str, Any] | None = None) -> Method:
    """Make a method from its name and a plan's `options`.

    Raises:
        SwiftprofError: unknown method, unknown option, or an option's value is not allowed.

    Examples:
        >>> create("random", {"seed": 3})
        Random(seed=3)
    """
    cls = method_class(name)
    known = [field.name for field in dataclasses.fields(cls)]
    for option in options or {}:
        if option not in known:
            hint = did_you_mean(option, known) if known else "it takes none"
            raise SwiftprofError(f"options: method '{name}' has no option '{option}'; {hint}")
    return cls(**dict(options or {}))
