"""A profile on a terminal: one row per layer, one column per data set."""

from __future__ import annotations

from swiftprof.cli.output import Output
from swiftprof.profiling.store import Profile
from swiftprof.tables import Table

FEW = 100
"""Samples a set below which x above 1 is called noise."""


def show_profile(output: Output, profile: Profile) -> None:
    """Print the capability of every layer, per data set and combined."""
    summary, names = profile.summary, profile.datasets
    n = sum(summary.samples.values())
    every = [str(layer) for layer in summary.settings.layers]
    records, rows = set(), []
    best = summary.curve[every[0]]
    for number, key in enumerate(every):
        x = summary.curve[key]
        low, high = summary.interval[key]
        sure = f"{low:.3f}–{high:.3f}" if n > len(names) else "–"  # one sample has no spread
        rows.append((key, *(f"{summary.curve_per_dataset[d][key]:.3f}" for d in names),
                     f"{x:.3f}", sure))  # fmt: skip
        if x > best:
            records.add(number)
            best = x
    scores = "  ".join(f"{d} {summary.vanilla[d]:.3f}" for d in names)
    output.tables(
        Table(
            ("layer", *names, "x", "95 % interval"),
            tuple(rows),
            f"{profile.model.name}: capability x of each layer's top {100 * profile.keep:g} % "
            f"({n} samples, {summary.seconds:.0f} s)",
            f"Green: a new record, a possible pruning layer. Vanilla scores: {scores}",
            left=(),
            marked=frozenset(records),
        )
    )
    above = sum(summary.curve[key] > 1 for key in every)
    if above and n < FEW * len(names):
        output.warn(f"x is above 1 at {above} layers: noise of few samples ({n}); measure more")
    for name, protocol in summary.settings.protocol.items():
        split = summary.settings.splits[name]
        output.print("[dim]{name} {split}: {how}[/dim]", name=name, split=split, how=protocol)
