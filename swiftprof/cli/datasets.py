"""`swiftprof datasets`: the data sets that can be named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftprof.cli.options import DataRootOpt, JsonOpt
from swiftprof.cli.output import Output

if TYPE_CHECKING:
    from swiftprof.data.base import Dataset

EXAMPLES = (
    "swiftprof datasets",
    "swiftprof datasets --data-root /data",
    "swiftprof datasets --json",
)


def datasets(data_root: DataRootOpt = None, json: JsonOpt = False) -> None:
    """List the data sets: splits, sizes, metric, licence, and what of them is on this disk.

    Data of your own work too, wherever the name of a data set does: a file (.jsonl, .json, .csv,
    .tsv, .parquet), a folder of save_to_disk, or hub:org/name:split.
    """
    from swiftprof.data.registry import DATASETS, dataset_names, get_dataset
    from swiftprof.errors import SwiftprofError
    from swiftprof.tables import Table

    output = Output(json)
    rows = []
    for name in dataset_names():
        try:
            rows.append(_described(get_dataset(name, data_root), data_root))
        except SwiftprofError as error:
            if name in DATASETS:
                raise
            output.warn(str(error))  # another package's set; the others are still worth listing
    output.document({"datasets": rows})
    cells = (
        (
            (row["name"], row["description"]),
            ("", f"{row['metric']}; {row['counted']}: {_splits(row)}"),
            ("", f"licence: {row['licence']}; {_on_disk(row)}"),
        )
        for row in rows
    )
    output.tables(Table(("name", "data set"), sum(cells, ()), left=(0, 1)))
    output.print(
        "\nYour own: a file (.jsonl, .json, .csv, .tsv, .parquet), a folder of save_to_disk or "
        "hub:org/name:split\n(columns: image, question, and answers, box or choices)"
    )


def _splits(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in row["splits"].items())


def _described(dataset: Dataset, data_root: Path | None) -> dict[str, Any]:
    from swiftprof.data.hosted import HostedDataset
    from swiftprof.data.sources.find import local_copy

    row: dict[str, Any] = {
        "name": dataset.name,
        "description": dataset.description,
        "metric": dataset.metric,
        "splits": dict(dataset.splits),
        "counted": dataset.counted,
        "profile_split": dataset.train_split if dataset.train_split in dataset.splits else None,
        "eval_split": dataset.eval_split,
        "licence": dataset.licence,
        "needs_files": isinstance(dataset, HostedDataset),
    }
    if isinstance(dataset, HostedDataset):
        row |= {
            "sources": {split: list(part.ids) for split, part in dataset.parts.items()},
            "download_mb": dict(dataset.megabytes),
            "read_in_part": sorted(s for s, part in dataset.parts.items() if part.in_part),
            "local_copies": sorted(
                split
                for split, part in dataset.parts.items()
                if local_copy(part, data_root) is not None
            ),
        }
    return row


def _on_disk(row: dict[str, Any]) -> str:
    if not row["needs_files"]:
        return "made on the fly, nothing to download"
    parts = []
    if row["local_copies"]:
        parts.append(f"local copy of {', '.join(row['local_copies'])}")
    if not parts:
        sizes = ", ".join(f"{k} {v:,} MB" for k, v in row["download_mb"].items())
        parts.append("no local copy" + (f" (download: {sizes})" if sizes else ""))
    return ", ".join(parts)
