"""`swiftprof models` and `swiftprof datasets`: what can be named."""

from __future__ import annotations

from swiftprof.cli.options import JsonOpt
from swiftprof.cli.output import Output

__all__ = ["DATASET_EXAMPLES", "MODEL_EXAMPLES", "datasets", "models"]

MODEL_EXAMPLES = ("swiftprof models", "swiftprof models --json")
DATASET_EXAMPLES = ("swiftprof datasets", "swiftprof datasets --json")


def models(json: JsonOpt = False) -> None:
    """List the models that have a short name. Any hub id or local folder of a LLaVA works too."""
    from swiftprof.models.registry import ALIASES

    output = Output(json)
    rows = [{"name": s.name, "id": s.id, "bundled": s.bundled} for s in ALIASES.values()]
    output.document({"models": rows})
    for row in rows:
        where = "bundled, works offline" if row["bundled"] else row["id"]
        output.print(f"[bold]{row['name']:16}[/bold] {where}")


def datasets(json: JsonOpt = False) -> None:
    """List the data sets with their splits, metric and licence."""
    from swiftprof.data.registry import DATASETS, get_dataset

    output = Output(json)
    found = [get_dataset(name) for name in DATASETS]
    output.document(
        {
            "datasets": [
                {
                    "name": d.name,
                    "description": d.description,
                    "metric": d.metric,
                    "splits": dict(d.splits),
                    "licence": d.licence,
                }
                for d in found
            ]
        }
    )
    for d in found:
        splits = ", ".join(f"{k} {v:,}" for k, v in d.splits.items())
        output.print(f"[bold]{d.name:14}[/bold] {d.description}; {d.metric}; {splits}")
