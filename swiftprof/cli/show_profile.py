"""A profile on a terminal: one row per layer, one column per data set."""

from __future__ import annotations

from rich.table import Table

from swiftprof.cli.output import Output, plain
from swiftprof.profiling.store import Profile

FEW = 100
"""Samples a set below which x above 1 is called noise."""


def show_profile(output: Output, profile: Profile) -> None:
    """Print the capability of every layer, per data set and combined."""
    summary, names = profile.summary, profile.datasets
    n = sum(summary.samples.values())
    output.print(
        f"[bold]{plain(profile.model.name)}[/bold]: capability x of each layer's top "
        f"{100 * profile.keep:g} % ({n} samples, {summary.seconds:.0f} s)\n"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("layer", justify="right")
    for name in (*names, "x", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    every = summary.settings.layers
    record = summary.curve[str(every[0])]
    for layer in every:
        key, x = str(layer), summary.curve[str(layer)]
        low, high = summary.interval[key]
        sure = f"{low:.3f}–{high:.3f}" if n > len(names) else "–"  # one sample has no spread
        per_set = [f"{summary.curve_per_dataset[d][key]:.3f}" for d in names]
        new = layer > every[0] and x > record
        record = max(record, x)
        row = [key, *per_set, f"{x:.3f}", sure]
        table.add_row(*row, style="bold green" if new else None)
    scores = "  ".join(f"{d} {summary.vanilla[d]:.3f}" for d in names)
    output.print(table)
    above = [layer for layer in every if summary.curve[str(layer)] > 1]
    if above and n < FEW * len(names):
        output.warn(
            f"x is above 1 at {len(above)} layers: noise of few samples ({n}); measure more"
        )
    output.print(f"\nGreen: a new record, a possible pruning layer. Vanilla scores: {scores}")
    for name, protocol in summary.settings.protocol.items():
        split = summary.settings.splits[name]
        output.print(f"[dim]{name} {plain(split)}: {plain(protocol)}[/dim]")
