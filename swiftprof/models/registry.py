"""Aliases of models → where their weights are. Any hub id or local folder works as well."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from swiftprof.errors import SwiftprofError, did_you_mean

BUNDLED_MODEL = "tiny-llava"


@dataclass(frozen=True)
class ModelSource:
    """``id`` is a hub id, a local folder, or the bundled model's own name."""

    name: str
    id: str
    revision: str | None = None
    bundled: bool = False

    @property
    def location(self) -> str:
        """What ``from_pretrained`` takes."""
        return str(bundled_folder()) if self.bundled else self.id


ALIASES = {
    BUNDLED_MODEL: ModelSource(BUNDLED_MODEL, BUNDLED_MODEL, bundled=True),
    "llava-1.5-7b": ModelSource("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf"),
    "llava-1.5-13b": ModelSource("llava-1.5-13b", "llava-hf/llava-1.5-13b-hf"),
}


def bundled_folder() -> Path:
    return Path(str(files("swiftprof.tiny").joinpath("weights")))


def find_model(name: str) -> ModelSource:
    """Resolve an alias, a local folder with a ``config.json``, or a hub id ``owner/name``.

    Raises:
        SwiftprofError: none of these.
    """
    if name in ALIASES:
        return ALIASES[name]
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise SwiftprofError(
                f"{name}: no config.json in this folder; give the folder that save_pretrained wrote"
            )
        return ModelSource(folder.resolve().name, str(folder))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return ModelSource(name.split("/")[1], name)
    raise SwiftprofError(
        f"unknown model {name!r}: {did_you_mean(name, ALIASES)} "
        "(or give a hub id owner/name, or a folder)"
    )
