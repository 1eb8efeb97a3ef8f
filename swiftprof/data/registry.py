"""Names of data sets. A data set is one file and one line here; nothing is imported until used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from swiftprof.data.base import Dataset
from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean
from swiftprof.plugins import (
    PluginError,
    contained,
    described,
    installed,
    read_entry_point,
    read_reference,
)

DATASETS = {
    "scenes-ref": "swiftprof.data.scenes:ScenesRef",
    "scenes-text": "swiftprof.data.scenes:ScenesText",
    "scenes-qa": "swiftprof.data.scenes:ScenesQA",
    "refcoco": "swiftprof.data.refcoco:RefCOCO",
    "refcoco+": "swiftprof.data.refcoco:RefCOCOPlus",
    "refcocog": "swiftprof.data.refcoco:RefCOCOg",
    "textvqa": "swiftprof.data.textvqa:TextVQA",
    "textvqa-ocr": "swiftprof.data.textvqa:TextVQAWithOCR",
    "gqa": "swiftprof.data.gqa:GQA",
    "vqav2": "swiftprof.data.vqav2:VQAv2",
    "vqav2-old": "swiftprof.data.vqav2:VQAv2ByTheOldRule",
    "scienceqa": "swiftprof.data.scienceqa:ScienceQA",
    "mme": "swiftprof.data.mme:MME",
    "mmbench": "swiftprof.data.mmbench:MMBench",
    "pope": "swiftprof.data.pope:POPE",
}
BUNDLED = ("scenes-ref", "scenes-text", "scenes-qa")
GROUP = "swiftprof.datasets"
"""Entry points of this group add data sets: name → a function without arguments that makes one."""


def dataset_names() -> list[str]:
    """All names: our own, then those of other packages."""
    return [*DATASETS, *sorted(set(installed(GROUP)) - set(DATASETS))]


def get_dataset(name: str, data_root: Path | None = None) -> Dataset:
    """The data set of a name, of own data (see `data.own.naming`), or of ``module:Class``.

    Args:
        data_root: folder with local copies.

    Raises:
        SwiftprofError: no such data set (with the nearest names), no such file, no such folder.
    """
    if data_root is not None and not data_root.is_dir():
        raise BadParameter("data_root", data_root, "no such folder")
    if name in DATASETS:
        module, _, maker = DATASETS[name].partition(":")
        make: Callable[[], Dataset] = getattr(importlib.import_module(module), maker)
        return make().at(data_root)
    point = installed(GROUP).get(name)
    if point is not None:
        where = described(point, "data set")
        dataset = _made(read_entry_point(point, "data set"), where)
        if dataset.name != name:
            raise PluginError(f"{where} calls itself '{dataset.name}'; the two must be equal")
        return dataset.at(data_root)
    from swiftprof.data.own.naming import is_own

    if is_own(name):
        from swiftprof.data.own.dataset import OwnDataset

        return OwnDataset(name, data_root)
    if ":" in name:
        return _made(read_reference(name, "data set"), f"data set '{name}'").at(data_root)
    raise SwiftprofError(
        f"unknown data set {name!r}: {did_you_mean(name, dataset_names())} "
        "(or give a file or folder of your own)"
    )


def get_datasets(names: Sequence[str | Dataset], data_root: Path | None = None) -> list[Dataset]:
    """Data sets in order, each once.

    Raises:
        SwiftprofError: as `get_dataset`, and for two that would go by one name.
    """
    given: dict[str, Dataset] = {}
    asked: dict[str, str] = {}
    for name in names:
        if isinstance(name, str) and name in asked.values():
            continue
        dataset = get_dataset(name, data_root) if isinstance(name, str) else name
        if dataset.name in given:
            raise SwiftprofError(
                f"{name} and {asked[dataset.name]} would both be called {dataset.name!r}; "
                "rename one"
            )
        given[dataset.name] = dataset
        asked[dataset.name] = name if isinstance(name, str) else dataset.name
    return list(given.values())


def _made(found: object, where: str) -> Dataset:
    """The data set that a plug-in's class or function makes."""
    if not callable(found):
        raise PluginError(f"{where} is a {type(found).__name__}, not a class or function")
    with contained(where):
        dataset = found()
    if not isinstance(dataset, Dataset):
        kind = type(dataset).__name__
        raise PluginError(f"{where} makes a {kind}, not a swiftprof.data.base.Dataset")
    return dataset
