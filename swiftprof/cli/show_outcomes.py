"""Outcomes of several variants on several data sets, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from swiftprof.cli.output import Output
from swiftprof.evaluation.compare import Outcome
from swiftprof.models.loading import VLM

__all__ = ["show_outcomes"]


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
    count = len(results[0][first].scores)
    output.print(table)
    output.print(
        f"\n[dim]{count} samples a set. relative: mean over sets of score / {first}'s; tokens: "
        f"visual tokens averaged over {vlm.num_layers} layers; {unit}: prefill; time: "
        f"generate() against {first}'s, in turns[/dim]"
    )
