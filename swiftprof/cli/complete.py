"""Values that the shell completes. Nothing heavy is imported before a person presses the key."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Complete = Callable[[str], list[str]]


def words(*known: str) -> Complete:
    """Completes one of some words."""
    return lambda incomplete: [each for each in known if each.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Short names of models."""
    from swiftprof.models.registry import known_models

    return words(*known_models())(incomplete)


def datasets(incomplete: str) -> list[str]:
    """Names of data sets, the last one of a list."""
    from swiftprof.data.registry import dataset_names

    return _last(incomplete, dataset_names())


def methods(incomplete: str) -> list[str]:
    """Names of methods and presets, the last one of a list."""
    from swiftprof.methods import REGISTRY
    from swiftprof.planning.preset import PRESETS

    return _last(incomplete, [*REGISTRY, *PRESETS])


def _last(incomplete: str, known: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{each}" for each in words(*known)(last)]
