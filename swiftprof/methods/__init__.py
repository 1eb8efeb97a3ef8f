"""Pruning methods. One method is one file and one line in `REGISTRY`.

A method says how a budget becomes stages, how good each candidate token is at a stage, whether the
unselected tokens are merged, and whether they come back before the next stage (see `base.Method`).
Everything else, from layouts and masks to caches, is the runtime's and the same for all.

Other packages add methods by entry points of the group `swiftprof.methods`; without one, a method
is named as `module:Class`, which is also what a plan calls it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean
from swiftprof.methods.options import one_of
from swiftprof.plugins import (
    PluginError,
    contained,
    described,
    installed,
    read_entry_point,
    read_reference,
)

if TYPE_CHECKING:
    from swiftprof.methods.base import Method

WORDS = {"per": ("prompt", "image"), "positions": ("compacted", "kept")}
"""Values of the options that all methods or several have."""

REGISTRY: dict[str, str] = {
    "cdpruner-embeddings": "swiftprof.methods.cdpruner:CDPrunerEmbeddings",
    "dart": "swiftprof.methods.dart:DART",
    "divprune": "swiftprof.methods.divprune:DivPrune",
    "drop": "swiftprof.methods.drop:Drop",
    "fastv": "swiftprof.methods.fastv:FastV",
    "feather": "swiftprof.methods.feather:Feather",
    "hiprune": "swiftprof.methods.hiprune:HiPrune",
    "merge": "swiftprof.methods.merge:Merge",
    "pdrop": "swiftprof.methods.pdrop:PDrop",
    "pool": "swiftprof.methods.pool:Pool",
    "random": "swiftprof.methods.random:Random",
    "sparsevlm": "swiftprof.methods.sparsevlm:SparseVLM",
    "sparsevlm-plus": "swiftprof.methods.sparsevlm_plus:SparseVLMPlus",
    "swiftvlm": "swiftprof.methods.swiftvlm:SwiftVLM",
    "uniform": "swiftprof.methods.uniform:Uniform",
    "vanilla": "swiftprof.methods.vanilla:Vanilla",
    "visionzip": "swiftprof.methods.visionzip:VisionZip",
    "vispruner": "swiftprof.methods.vispruner:VisPruner",
}
"""A plan's method name to `module:class`. Importing them does not import torch."""

GROUP = "swiftprof.methods"
"""Entry points of this group add methods: name → a subclass of `Method`."""


def method_class(name: str) -> type[Method]:
    """The class behind a method's name: ours, an installed plug-in's, or `module:Class`.

    Raises:
        SwiftprofError: no method has this name, or the plug-in is missing or broken.
    """
    home = REGISTRY.get(name)
    if home is not None:
        module, _, attribute = home.partition(":")
        ours: type[Method] = getattr(importlib.import_module(module), attribute)
        return ours
    points = installed(GROUP)
    if name in points:
        where = described(points[name], "method")
        return _checked(read_entry_point(points[name], "method"), where)
    if ":" in name:
        return _checked(read_reference(name, "method"), f"method '{name}'")
    known = [*REGISTRY, *points]
    raise BadParameter("method", name, f"unknown; {did_you_mean(name, known)}")


def _checked(found: object, where: str) -> type[Method]:
    from swiftprof.methods.base import Method

    if not (isinstance(found, type) and issubclass(found, Method)):
        kind = "class" if isinstance(found, type) else type(found).__name__
        raise PluginError(f"{where} is a {kind}, not a subclass of swiftprof.Method")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise PluginError(f"{where} does not define {missing}")
    if "__init__" in vars(found) and "__dataclass_fields__" not in vars(found):
        raise PluginError(
            f"{where} has an __init__ of its own, whose arguments no plan could hold: decorate "
            "the class with @dataclass(frozen=True) and make its options fields"
        )
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
    with contained(f"method '{name}'"):
        made = cls(**dict(options or {}))
    check_words(made)
    return made


def check_words(method: Method) -> None:
    """Refuse values of the shared options that do not exist. Raises SwiftprofError."""
    for option, words in WORDS.items():
        if hasattr(method, option):
            one_of(option, getattr(method, option), words)


def name_of(method: Method) -> str:
    """How a plan names a method: a name in `REGISTRY`, or `module:Class`.

    A class of a script or notebook is named after `__main__` and found again in the same process.

    Raises:
        SwiftprofError: the class could not be found again by its name.

    Examples:
        >>> name_of(create("fastv"))
        'fastv'
    """
    cls = type(method)
    home = f"{cls.__module__}:{cls.__qualname__}"
    for name, ours in REGISTRY.items():
        if ours == home:
            return name
    if method_class(home) is not cls:
        raise PluginError(
            f"method '{home}' is now another class: was its cell or module run again? Make the "
            "method anew"
        )
    return home


def options_of(method: Method) -> dict[str, Any]:
    """A method's options that differ from their defaults, as a plan stores them.

    Raises:
        SwiftprofError: an option's value has no place in a JSON file.

    Examples:
        >>> options_of(create("random", {"seed": 3}))
        {'seed': 3}
    """
    options = {
        field.name: value
        for field in dataclasses.fields(method)
        if (value := getattr(method, field.name)) != field.default
    }
    for option, value in options.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise SwiftprofError(
                f"options.{option}: a plan cannot hold {value!r}; use numbers, words, true or false"
            ) from None
    return options
