"""`swiftprof models`: the families that are supported, and the models that have a short name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swiftprof.cli.options import JsonOpt
from swiftprof.cli.output import Output

if TYPE_CHECKING:
    from swiftprof.models.family import Family
    from swiftprof.models.registry import ModelSource
    from swiftprof.tables import Table

EXAMPLES = ("swiftprof models", "swiftprof models --json")


def models(json: JsonOpt = False) -> None:
    """List the supported families, and the models of each that have a short name.

    Any hub id or local folder of one of these families works too.
    """
    from swiftprof.models.registry import families, known_models, plugins

    output, added = Output(json), plugins()
    rows = [_row(source) for source in known_models().values()]
    listed = [
        {
            "name": f.name,
            "title": f.title,
            "model_types": list(f.model_types),
            "visual_tokens": f.counting,
            "varies": f.varies,
            "plugin": f in added.families,
        }
        for f in families()
    ]
    output.document({"families": listed, "models": rows, "broken_plugins": dict(added.broken)})
    for why in added.broken.values():
        output.warn(why)
    output.tables(*(_table(family, rows) for family in families()))
    output.print("\nAny hub id or local folder of these families works too: --model owner/name")


def _row(source: ModelSource) -> dict[str, Any]:
    from swiftprof.models.registry import known_model

    shape, tokens = source.shape, source.nominal_tokens
    if shape is None and source.bundled:
        known = known_model(source.name)
        shape, tokens = known.shape, known.visual_tokens
    return {
        "name": source.name,
        "id": source.id,
        "family": source.family,
        "layers": shape.num_layers if shape else None,
        "nominal_tokens": tokens,
        "licence": source.licence,
        "revision": source.revision,
        "bundled": source.bundled,
    }


def _table(family: Family, rows: list[dict[str, Any]]) -> Table:
    from swiftprof.tables import Table

    mine = (row for row in rows if row["family"] == family.title)
    return Table(
        ("name", "from", "layers, licence"),
        tuple(
            (
                row["name"],
                "bundled, works offline" if row["bundled"] else row["id"],
                ", ".join(str(row[fact]) for fact in ("layers", "licence") if row[fact]),
            )
            for row in mine
        ),
        title=f"{family.title} (model_type {', '.join(family.model_types)})",
        note=f"visual tokens: {family.counting}",
        left=(0, 1, 2),
    )
