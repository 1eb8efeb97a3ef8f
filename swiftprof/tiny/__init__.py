"""The bundled models ``tiny-llava`` and ``tiny-llava-plain``, the scenes they learned from, their
profiles, and three pictures to try them on."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def sample_images() -> dict[str, Path]:
    """Pictures of scenes that no model was trained on, by name: scene-1, scene-2, scene-3."""
    return {file.stem: file for file in sorted(_folder("images").glob("*.png"))}


def bundled_profiles() -> dict[str, Path]:
    """Name of a bundled model → the folder of its profile."""
    return {file.parent.name: file.parent for file in _folder("profiles").glob("*/profile.json")}


def _folder(name: str) -> Path:
    return Path(str(files("swiftprof.tiny").joinpath(name)))
