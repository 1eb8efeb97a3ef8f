"""What a benchmark found, as one document and as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swiftprof.bench.environment import environment
from swiftprof.bench.random_model import Benched
from swiftprof.planning.plan_file import Plan
from swiftprof.tables import Table, times

Row = Mapping[str, Any]
SCHEMA = "swiftprof.bench/1"


def document(
    subject: Benched,
    plans: Mapping[str, Plan],
    rows: Sequence[Row],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The rows, with all that decides them: model, plans, settings and machine."""
    model = subject.model
    parameter = next(model.parameters())
    return {
        "schema": SCHEMA,
        "kind": "speed",
        "environment": environment(parameter.device),
        "model": {
            "name": subject.name,
            "scale": subject.scale,
            "random_weights": subject.random_weights,
            "shape": vars(subject.shape),
            "visual_tokens": subject.visual_tokens,
            "text_tokens": subject.text_tokens,
            "weight_bytes": sum(p.nbytes for p in model.parameters()),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "attention": str(model.config._attn_implementation),
        },
        "settings": dict(settings),
        "rows": list(rows),
        "plans": {
            name: [stage.model_dump() for stage in plan.stages] for name, plan in plans.items()
        },
    }


def tables(document: Mapping[str, Any]) -> list[Table]:
    """One row per variant and batch size: the prefill, then the rest; each fits a terminal."""
    model = document["model"]
    weights = "random weights" if model["random_weights"] else "its own weights"
    scale = "" if model["scale"] == 1 else f", widths x {model['scale']:g}"
    compiled = ", compiled decoding" if document["settings"].get("compiled") else ""
    title = (
        f"{model['name']} ({weights}{scale}; {model['dtype']}, {model['attention']}{compiled}, "
        f"{_place(document['environment'])}); {model['visual_tokens']} visual and "
        f"{model['text_tokens']} text tokens"
    )
    vision = [row["seconds"]["vision"]["p50"] for row in document["rows"] if "seconds" in row]
    before = f"Vision tower and projector: {_ms(min(vision))}. " if vision else ""
    note = (
        f"{before}Medians. speed: times as fast as vanilla in the same round; FLOPs: the same by "
        "the formulas. pruning: restoring, scoring, selecting and merging, inside the prefill. "
        "peak: above the weights."
    )
    prefill = ("tokens", "prefill", "speed", "FLOPs", "efficiency", "pruning")
    rest = ("decode", "speed", "whole", "speed", "KV", "peak")
    return [_table(document, prefill, _prefill, title), _table(document, rest, _rest, note=note)]


def _table(
    document: Mapping[str, Any],
    columns: tuple[str, ...],
    cells: Callable[[Row], tuple[str, ...]],
    title: str = "",
    note: str = "",
) -> Table:
    failed = ("",) * (len(columns) - 1)
    rows = (
        (
            row["variant"],
            str(row["batch"]),
            *((row["failed"], *failed) if "failed" in row else cells(row)),
        )
        for row in document["rows"]
    )
    return Table(("variant", "batch", *columns), tuple(rows), title, note)


def _prefill(row: Row) -> tuple[str, ...]:
    seconds = {name: each["p50"] for name, each in row["seconds"].items()}
    return (
        f"{row['retain']:.0f}",
        _ms(seconds["prefill"]),
        _speed(row, "prefill"),
        times(row.get("flops_ratio")),
        f"{row['efficiency']:.2f}" if "efficiency" in row else "–",
        _ms(seconds["restore"] + seconds["score"] + seconds["select"]),
    )


def _rest(row: Row) -> tuple[str, ...]:
    seconds = {name: each["p50"] for name, each in row["seconds"].items()}
    return (
        _ms(seconds["decode"]) if "decode" in seconds else "–",
        _speed(row, "decode"),
        _ms(seconds["end_to_end"]),
        _speed(row, "end_to_end"),
        _bytes(row["kv_bytes"]),
        _bytes(row["peak_bytes"]),
    )


def _speed(row: Row, phase: str) -> str:
    return times(row.get("speedup", {}).get(phase))


def _place(environment: Mapping[str, Any]) -> str:
    if "gpu" in environment:
        return str(environment["gpu"])
    threads = environment["threads"]
    return f"{environment['cpu']}, {threads} thread{'s' if threads > 1 else ''}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _bytes(count: int | None) -> str:
    if count is None:
        return "–"
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
