"""Outcomes of several variants on several data sets, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from swiftprof.cli.output import Output
from swiftprof.evaluation.compare import Outcome
from swiftprof.models.loading import VLM

__all__ = ["show_outcomes"]

SHOWN = 4
"""Metrics of a set that the terminal shows."""


def show_outcomes(output: Output, vlm: VLM, results: Sequence[Mapping[str, Outcome]]) -> None:
    """One row per variant: score of each set, share of vanilla, tokens, TFLOPs, time.

    Times are whole ``generate`` calls; the variants took turns batch by batch.
    """
    names = [next(iter(r.values())).dataset for r in results]
    variants = list(results[0])
    first = variants[0]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    whole = [f for r in results for f in r[first].tflops]
    unit, factor = ("TFLOPs", 1) if sum(whole) / len(whole) >= 0.1 else ("GFLOPs", 1000)
    for title in ("relative", "tokens", unit, "time"):
        table.add_column(title, justify="right", no_wrap=True)
    base_time = sum(r[first].seconds for r in results)
    for variant in variants:
        outcomes = [r[variant] for r in results]
        share = [
            o.score / r[first].score
            for o, r in zip(outcomes, results, strict=True)
            if r[first].score > 0
        ]
        tokens = [t for o in outcomes for t in o.retained]
        flops = [f for o in outcomes for f in o.tflops]
        table.add_row(
            variant,
            *(f"{o.score:.3f}" for o in outcomes),
            f"{100 * sum(share) / len(share):.1f} %" if share else "–",
            f"{sum(tokens) / len(tokens):.1f}",
            f"{factor * sum(flops) / len(flops):.3g}",
            f"{sum(o.seconds for o in outcomes) / base_time:.2f}×",
        )
    counts = {len(r[first].scores) for r in results}
    count = " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
    output.print(table)
    for result in results:
        _show_metrics(output, result)
    output.print()
    for outcome in (r[first] for r in results):
        output.print(f"[dim]{outcome.dataset}: {outcome.protocol}[/dim]")
    output.print(
        f"[dim]{count} samples a set. relative: mean over sets of score / {first}'s; tokens: "
        f"visual tokens averaged over {vlm.num_layers} layers; {unit}: prefill; time: "
        f"generate() against {first}'s, in turns[/dim]"
    )


def _show_metrics(output: Output, result: Mapping[str, Outcome]) -> None:
    """A set's own metrics, a line per variant; those of single categories are in the JSON."""
    first = next(iter(result.values()))
    names = list(first.metrics)[:SHOWN]
    if not names:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first.dataset)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for variant, outcome in result.items():
        values = [outcome.metrics.get(name) for name in names]
        table.add_row(variant, *("–" if v is None else _number(v) for v in values))
    output.print()
    output.print(table)


def _number(value: float) -> str:
    return f"{value:.3f}" if value <= 1 else f"{value:.1f}".removesuffix(".0")
