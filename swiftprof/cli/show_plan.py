"""A curve and its plan on a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from swiftprof.cli.output import Output, flops_text, percent, plain
from swiftprof.core.stages import BASE_LAYER, cut_layers
from swiftprof.planning.curve import Curve
from swiftprof.planning.plan_file import Plan, Stability

_EIGHTHS = " ▏▎▍▌▋▊▉"
_WIDEST_BAR = 44
_BESIDE_BAR = 52
"""Columns that a row needs beside its bar: layer, value, interval, frequency, mark."""


def show_plan(output: Output, curve: Curve | None, plan: Plan) -> None:
    """Print the curve, if any, with the chosen layers, the stages, the plan's cost and promise."""
    layers = ", ".join(map(str, plan.pruning_layers))
    output.print(
        f"[bold]{plain(plan.model.name)}[/bold]: prune at "
        f"layer{'s'[: len(plan.pruning_layers) > 1]} "
        f"[bold]{layers}[/bold] of {plan.model.num_layers} ({plan.method})\n"
    )
    if curve is not None:
        width = max(8, min(_WIDEST_BAR, output.width - _BESIDE_BAR))
        output.print(curve_table(curve, plan, width))
        output.print()
    output.print(stages_table(plan))
    for line in cost_lines(plan):
        output.print(line)


def curve_table(curve: Curve, plan: Plan, width: int) -> Table:
    """One row per candidate layer: bar, value, interval, share of resamples with it, its part."""
    stability = plan.stability
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("layer", justify="right")
    table.add_column("capability", width=width)
    table.add_column("x", justify="right")
    if stability is not None:
        table.add_column("95 % interval", no_wrap=True)
        table.add_column("chosen", justify="right")
    table.add_column("", no_wrap=True)
    low, high = min(0.0, float(curve.x.min())), float(curve.x.max())
    for layer, x in zip(curve.layers, curve.x, strict=True):
        part = _part(layer, plan)
        style = "bold green" if part.startswith("◀") else "" if part else "dim"
        filled = (float(x) - low) / (high - low) if high > low else 1.0
        row = [Text(str(layer)), Text(_bar(filled, width)), Text(f"{x:.3f}")]
        if stability is not None:
            row += [Text(_interval(stability, layer)), Text(_chosen(stability, layer))]
        table.add_row(*row, Text(part), style=style)
    return table


def stages_table(plan: Plan) -> Table:
    """One row per stretch of layers: which, and how many visual tokens enter them."""
    tokens = plan.model.visual_tokens
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("layers", "kept", "merged", "visual tokens"):
        table.add_column(name, justify="right")
    starts = [cut + 1 for cut in cut_layers(plan.stages, plan.first)]
    ends = [*(start - 1 for start in starts[1:]), plan.model.num_layers]
    if starts[0] > 1:  # else tokens leave before the decoder
        table.add_row(_span(1, starts[0] - 1), "100 %", "", str(tokens or ""))
    entering = plan.tokens_per_layer(tokens) if tokens else []
    for stage, start, end in zip(plan.stages, starts, ends, strict=True):
        count = f"{entering[start - 1]:.0f}" if entering and start <= end else ""
        merged = percent(stage.merge, 1) if stage.merge else ""
        table.add_row(_span(start, end), percent(stage.keep, 1), merged, count)
    return table


def cost_lines(plan: Plan) -> list[str]:
    """Retained tokens, FLOPs, capability and stability as sentences."""
    expected, lines = plan.expected, [""]
    if expected.retained_tokens is not None and plan.model.visual_tokens:
        share = expected.retained_tokens / plan.model.visual_tokens
        lines.append(
            f"Retained tokens  {expected.retained_tokens:.1f} of {plan.model.visual_tokens} "
            f"({percent(share, 1)}), averaged over layers"
        )
    elif plan.budget is not None and plan.budget.ratio is not None:
        lines.append(
            f"Retained tokens  {percent(plan.budget.ratio, 1)} of the prompt's visual tokens"
        )
    if expected.tflops is not None and expected.tflops_vanilla:
        less = 1 - expected.tflops / expected.tflops_vanilla
        lines.append(
            f"Prefill          {flops_text(expected.tflops, expected.tflops_vanilla)} "
            f"({percent(less)} less), overhead included"
        )
    if expected.area is not None:
        lines.append(
            f"Capability       {expected.area:.3f} on average over the layers from 2 on (P)"
        )
    if plan.stability is not None and plan.stability.plan_frequency is not None:
        lines.append(
            f"Stability        {percent(plan.stability.plan_frequency)} of "
            f"{plan.stability.bootstrap} resamples give these layers; "
            f"regret {plan.stability.regret or 0:.2g}"
        )
    return lines


def _part(layer: int, plan: Plan) -> str:
    if layer in plan.pruning_layers:
        return f"◀ stage {plan.pruning_layers.index(layer) + 1}"
    return "base" if layer == BASE_LAYER else ""


def _bar(filled: float, width: int) -> str:
    eighths = round(filled * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _interval(stability: Stability, layer: int) -> str:
    found = (stability.interval or {}).get(str(layer))
    return f"{found[0]:.3f}–{found[1]:.3f}" if found and found[0] < found[1] else ""


def _chosen(stability: Stability, layer: int) -> str:
    share = stability.layer_frequency.get(str(layer))
    return percent(share) if share else ""


def _span(first: int, last: int) -> str:
    return f"{first}–{last}" if last > first else str(first) if last == first else "none"
