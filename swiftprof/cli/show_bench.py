"""Benchmarks on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from swiftprof.cli.output import Output

_PREFILL = ("tokens", "prefill", "x", "FLOPs x", "efficiency", "pruning")
_REST = ("decode", "x", "whole", "x", "KV", "peak")


def show_speed(output: Output, document: Mapping[str, Any]) -> None:
    """One row per variant and batch size: times, and ratios to vanilla."""
    model = document["model"]
    weights = "random weights" if model["random_weights"] else "its own weights"
    scale = "" if model["scale"] == 1 else f", widths x {model['scale']:g}"
    output.print(
        f"[bold]{model['name']}[/bold] ({weights}{scale}; {model['dtype']}, {model['attention']}, "
        f"{_place(document)}); {model['visual_tokens']} visual and {model['text_tokens']} text "
        "tokens\n"
    )
    _table(output, document, _PREFILL, _prefill_row)
    output.print()
    _table(output, document, _REST, _rest_row)
    vision = [r["seconds"]["vision"]["p50"] for r in document["rows"] if "seconds" in r]
    if vision:
        output.print(f"\nBefore the decoder (vision tower, projector): {_ms(min(vision))}.")
    output.print(
        "[dim]Medians; x: how many times faster than vanilla in the same round. pruning: "
        "restoring, scoring, selecting and merging, inside the prefill. peak: above the "
        "weights.[/dim]"
    )


def _table(
    output: Output,
    document: Mapping[str, Any],
    columns: Sequence[str],
    cells: Callable[[Mapping[str, Any]], list[str]],
) -> None:
    """One row per variant; two such tables fit a terminal where one would not."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("batch", "variant", *columns):
        table.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)
    for row in document["rows"]:
        here = [row["failed"]] if "failed" in row else cells(row)
        table.add_row(str(row["batch"]), row["variant"], *here)
    output.print(table)


def _times(row: Mapping[str, Any], phase: str) -> str:
    """How many times faster than vanilla."""
    speedup = row.get("speedup", {})
    return f"{speedup[phase]:.2f}" if phase in speedup else ""


def _prefill_row(row: Mapping[str, Any]) -> list[str]:
    seconds = {name: each["p50"] for name, each in row["seconds"].items()}
    against = "speedup" in row
    return [
        f"{row['retain']:.0f}",
        _ms(seconds["prefill"]),
        _times(row, "prefill"),
        f"{row['flops_ratio']:.2f}" if against else "",
        f"{row['efficiency']:.2f}" if against else "",
        _ms(seconds["restore"] + seconds["score"] + seconds["select"]) if against else "",
    ]


def _rest_row(row: Mapping[str, Any]) -> list[str]:
    seconds = {name: each["p50"] for name, each in row["seconds"].items()}
    return [
        _ms(seconds["decode"]) if "decode" in seconds else "",
        _times(row, "decode"),
        _ms(seconds["end_to_end"]),
        _times(row, "end_to_end"),
        _bytes(row["kv_bytes"]),
        _bytes(row["peak_bytes"]),
    ]


def _place(document: Mapping[str, Any]) -> str:
    environment = document["environment"]
    if "gpu" in environment:
        return str(environment["gpu"])
    threads = environment["threads"]
    return f"{environment['cpu']}, {threads} thread{'s' if threads > 1 else ''}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _bytes(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
