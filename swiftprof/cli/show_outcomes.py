"""Outcomes of several variants on several data sets, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from swiftprof.cli.output import Output, plain
from swiftprof.evaluation.compare import Outcome
from swiftprof.models.loading import VLM

COSTS_WIDTH = 44
"""Columns that the table takes without any set."""
SHOWN = 4
"""Metrics of a set that the terminal shows."""


def show_outcomes(output: Output, vlm: VLM, results: Sequence[Mapping[str, Outcome]]) -> None:
    """One row per variant: score of each set, share of vanilla, tokens, TFLOPs, time.

    Where the sets do not fit side by side, their scores go below each other in a table of their
    own. Times are whole ``generate`` calls; the variants took turns batch by batch.
    """
    names = [next(iter(r.values())).dataset for r in results]
    variants = list(results[0])
    first = variants[0]
    beside = COSTS_WIDTH + sum(2 + max(len(n), 5) for n in names) <= output.width
    if not beside:
        output.print(_scores(results, variants))
        output.print()
    whole = [f for r in results for f in r[first].tflops]
    unit, factor = ("TFLOPs", 1) if sum(whole) / len(whole) >= 0.1 else ("GFLOPs", 1000)
    shown = results if beside else []
    table = _table("", *(names if beside else []), "relative", "tokens", unit, "time")
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
            *(f"{r[variant].score:.3f}" for r in shown),
            f"{100 * sum(share) / len(share):.1f} %" if share else "–",
            f"{sum(tokens) / len(tokens):.1f}",
            f"{factor * sum(flops) / len(flops):.3g}",
            f"{sum(o.seconds for o in outcomes) / base_time:.2f}×",
        )
    output.print(table)
    for result in results:
        _show_metrics(output, result)
    output.print()
    for outcome in (r[first] for r in results):
        output.print(f"[dim]{outcome.dataset} {outcome.split}: {plain(outcome.protocol)}[/dim]")
    counts = {len(r[first].scores) for r in results}
    count = " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
    output.print(
        f"[dim]{count} samples a set. relative: mean over sets of score / {first}'s; tokens: "
        f"visual tokens averaged over {vlm.num_layers} layers; {unit}: prefill; time: "
        f"generate() against {first}'s, in turns[/dim]"
    )


def _scores(results: Sequence[Mapping[str, Outcome]], variants: Sequence[str]) -> Table:
    table = _table("", *variants)
    for result in results:
        scores = (f"{result[v].score:.3f}" for v in variants)
        table.add_row(result[variants[0]].dataset, *scores)
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _show_metrics(output: Output, result: Mapping[str, Outcome]) -> None:
    """A set's own metrics, a line per variant; those of single categories are in the JSON."""
    first = next(iter(result.values()))
    names = list(first.metrics)[:SHOWN]
    if not names:
        return
    table = _table(first.dataset, *names)
    for variant, outcome in result.items():
        values = [outcome.metrics.get(name) for name in names]
        table.add_row(variant, *("–" if v is None else _number(v) for v in values))
    output.print()
    output.print(table)


def _number(value: float) -> str:
    return f"{value:.3f}" if value <= 1 else f"{value:.1f}".removesuffix(".0")
