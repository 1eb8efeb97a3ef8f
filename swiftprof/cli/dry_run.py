"""`swiftprof profile --dry-run`: what a profile would be and cost; nothing is loaded or run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swiftprof.cli.output import Output
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.data.base import Dataset

__all__ = ["TBPS", "TFLOPS", "dry_run"]

TFLOPS, TBPS = 400.0, 2.0
"""What is assumed of a device: 40 % of an H100's dense bfloat16 peak, 60 % of its bandwidth."""
DEVICES = (1, 8, 32)


def dry_run(
    output: Output,
    model: str | None,
    sets: Sequence[Dataset],
    *,
    samples: int,
    keep: float,
    score: str,
    visual_tokens: int | None,
    tflops: float,
    terabytes: float,
) -> None:
    """Print the size of the job, its FLOPs and memory, and the time they would take.

    Raises:
        SwiftprofError: a number of visual tokens is needed, or a speed is not above 0.
    """
    from swiftprof.measure.profile_cost import Part, profile_cost
    from swiftprof.measure.shapes import known_model
    from swiftprof.models.registry import BUNDLED_MODEL
    from swiftprof.profiling.parts import part_count

    known = known_model(model or BUNDLED_MODEL)
    visual = visual_tokens or known.visual_tokens
    if visual is None:
        raise SwiftprofError(
            f"--visual-tokens: needed, because {known.name} has as many as the image asks for"
        )
    for option, value in (("--assume-tflops", tflops), ("--assume-tbps", terabytes)):
        if not 0 < value < float("inf"):
            raise SwiftprofError(f"{option} {value:g}: must be above 0")
    new = {d.name: 0 if score == "nll" else d.max_new_tokens for d in sets}
    parts = [Part(name, samples, tokens) for name, tokens in new.items()]
    cost = profile_cost(known, visual, parts, keep=keep)
    seconds = {str(n): round(cost.seconds(tflops, terabytes, n), 1) for n in DEVICES}
    document: dict[str, Any] = {
        "dry_run": True,
        "model": known.name,
        "visual_tokens": visual,
        "text_tokens": known.text_tokens,
        "keep": keep,
        "datasets": new,
        "units": sum(part_count(part.samples) for part in parts),
        **vars(cost),
        "assumed": {"tflops": tflops, "terabytes_per_second": terabytes, "bytes_per_number": 2},
        "seconds_by_devices": seconds,
    }
    output.document(document)
    if output.as_json:
        return
    output.print(
        f"[bold]{known.name}[/bold], {visual} visual and {known.text_tokens} other tokens, "
        f"V = {keep:g}: computed, nothing was measured or loaded\n"
    )
    rows = [
        ("data sets", ", ".join(new)),
        ("samples", f"{cost.samples:,} at most, in {document['units']} units"),
        ("re-runs", f"{cost.reruns:,}"),
        ("prompts", f"{cost.prompt_flops / 1e15:,.1f} PFLOPs"),
        (
            "decoding",
            f"{cost.decode_flops / 1e15:,.1f} PFLOPs, {cost.decode_bytes / 1e12:,.0f} TB read, "
            "where every answer is as long as it may be",
        ),
        (
            "memory",
            f"weights {_gib(cost.weight_bytes)}, a sample with its re-runs "
            f"{_gib(cost.sample_bytes)} (two bytes a number)",
        ),
    ]
    for name, text in rows:
        output.print(f"{name:<10} {text}")
    times = ", ".join(f"{_time(s)} on {n}" for n, s in seconds.items())
    output.print(
        f"time       {times} GPUs, if each sustains {tflops:g} TFLOP/s on prompts and reads "
        f"{terabytes:g} TB/s while decoding (--assume-tflops, --assume-tbps)"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
