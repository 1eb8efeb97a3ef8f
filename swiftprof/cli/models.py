"""`swiftprof models`: the families that are supported, and the models that have a short name."""

from __future__ import annotations

from typing import Any

from swiftprof.cli.options import JsonOpt
from swiftprof.cli.output import Output

EXAMPLES = ("swiftprof models", "swiftprof models --json")


def models(json: JsonOpt = False) -> None:
    """List the supported families, and the models of each that have a short name.

    Any hub id or local folder of one of these families works too.
    """
    from swiftprof.models.registry import families, known_models, plugins

    output = Output(json)
    known, members = known_models(), families()
    rows: list[dict[str, Any]] = [
        {
            "name": source.name,
            "id": source.id,
            "family": source.family,
            "layers": _layers(source),
            "nominal_tokens": source.nominal_tokens if source.shape else _tokens(source),
            "licence": source.licence,
            "revision": source.revision,
            "bundled": source.bundled,
        }
        for source in known.values()
    ]
    output.document(
        {
            "families": [
                {
                    "name": f.name,
                    "title": f.title,
                    "model_types": list(f.model_types),
                    "visual_tokens": f.counting,
                    "varies": f.varies,
                    "plugin": f in plugins().families,
                }
                for f in members
            ],
            "models": rows,
            "broken_plugins": dict(plugins().broken),
        }
    )
    for why in plugins().broken.values():
        output.warn(why)
    if not json:
        _show(output, rows, members)


def _layers(source: Any) -> int | None:
    if source.shape is not None:
        return int(source.shape.num_layers)
    if not source.bundled:
        return None
    from swiftprof.models.known import known_model

    return known_model(source.name).shape.num_layers


def _tokens(source: Any) -> int | None:
    from swiftprof.models.known import known_model

    return known_model(source.name).visual_tokens if source.bundled else None


def _show(output: Output, rows: list[dict[str, Any]], members: Any) -> None:
    from swiftprof.tables import Table

    for family in members:
        table = Table(
            ("name", "from", "layers, licence"),
            tuple(
                (
                    row["name"],
                    "bundled, works offline" if row["bundled"] else row["id"],
                    ", ".join(str(row[fact]) for fact in ("layers", "licence") if row[fact]),
                )
                for row in rows
                if row["family"] == family.title
            ),
            title=f"{family.title} (model_type {', '.join(family.model_types)})",
            note=f"visual tokens: {family.counting}\n",
            left=(0, 1, 2),
        )
        output.print(table.terminal())
        output.print()
    output.print("Any hub id or local folder of these families works too: --model owner/name")
