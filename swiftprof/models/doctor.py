"""What of this machine is usable: versions, devices, packages, weights, disk and memory."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from swiftprof.models.memory import free_memory
from swiftprof.models.registry import known_models, plugins

TESTED = {"torch": "2.13", "transformers": "5.23"}
"""The versions that the whole test suite runs with."""

_GIB = 2**30
_ROOM = 20 * _GIB
"""Free disk below which the weights of a 7B model do not fit."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: `ok`, `note` (missing, not needed) or `problem`.
        found: what was found.
        do: what to do about it; empty when all is well.
    """

    what: str
    state: Literal["ok", "note", "problem"]
    found: str
    do: str = ""


def examine() -> list[Finding]:
    """Look at everything. Nothing is downloaded, nothing is changed."""
    return [*_versions(), *_devices(), *_optional(), *_weights(), *_plugins()]


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    yield Finding("python", "ok", ".".join(map(str, sys.version_info[:3])))
    for text in requires("swiftprof") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            yield Finding(needed.name, "problem", "not installed", f'pip install "{needed}"')
            continue
        said = f"{found}, tested with {TESTED[needed.name]}" if needed.name in TESTED else found
        if needed.specifier.contains(found, prereleases=True):
            yield Finding(needed.name, "ok", said)
        else:
            what = f"{found} is outside {needed.specifier}"
            yield Finding(needed.name, "problem", what, f'pip install "{needed}"')


def _devices() -> Iterator[Finding]:
    import torch

    memory = free_memory("cpu")
    known = f"{memory / _GIB:.1f} GiB free" if memory is not None else "free memory unknown"
    yield Finding("cpu", "ok", f"{os.cpu_count()} cores, {known}; default dtype float32")
    if not torch.cuda.is_available():
        built = "has CUDA support" if torch.version.cuda else "is built without CUDA"
        yield Finding(
            "gpu",
            "note",
            f"none that PyTorch sees (this PyTorch {built})",
            "large models want one: install a CUDA build of PyTorch and check nvidia-smi",
        )
        return
    for index in range(torch.cuda.device_count()):
        facts: Any = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        half = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        yield Finding(
            f"cuda:{index}",
            "ok",
            f"{facts.name}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free; best dtype {half}",
        )


def _optional() -> Iterator[Finding]:
    wanted = {
        "flash_attn": "--attn flash_attention_2 on a GPU; sdpa is exact too",
        "bitsandbytes": "--load-in-8bit, --load-in-4bit",
        "accelerate": "--device-map and quantised loading",
        "torchvision": "faster image processors (there are others without it)",
        "num2words": "SmolVLM's processor",
        "lmms_eval": "evaluating plans with lmms-eval",
    }
    for package, use in wanted.items():
        name = package.replace("_", "-")
        how = "--no-build-isolation 'swiftprof[flash]'" if package == "flash_attn" else name
        if find_spec(package) is None:
            yield Finding(name, "note", f"not installed; for {use}", f"pip install {how}")
        else:
            yield Finding(name, "ok", f"{_version(name)}: {use}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "installed"


def _weights() -> Iterator[Finding]:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    folder = Path(constants.HF_HUB_CACHE)
    try:
        sizes = {r.repo_id: r.size_on_disk for r in scan_cache_dir(folder).repos}
    except CacheNotFound:
        sizes = {}
    known = known_models().values()
    cached = [f"{s.name} ({sizes[s.id] / _GIB:.1f} GiB)" for s in known if s.id in sizes]
    bundled = ", ".join(s.name for s in known if s.bundled)
    yield Finding(
        "weights",
        "ok",
        f"in {folder}: {', '.join(cached) or 'none of the named models'}; bundled: {bundled}",
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        yield Finding("hub", "note", "HF_HUB_OFFLINE is set: nothing is downloaded", "unset it")
    place = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(place).free
    state: Literal["ok", "note"] = "ok" if free >= _ROOM else "note"
    do = "" if state == "ok" else "a 7B model takes 14 GiB: free space, or point HF_HOME elsewhere"
    yield Finding("disk", state, f"{free / _GIB:.1f} GiB free for weights in {place}", do)


def _plugins() -> Iterator[Finding]:
    found = plugins()
    for family in found.families:
        yield Finding("plug-in", "ok", f"family {family.title}")
    for why in found.broken.values():
        yield Finding("plug-in", "problem", why, "update or uninstall that package")
