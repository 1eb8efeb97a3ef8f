"""A curve and its plan on a terminal."""

from __future__ import annotations

from swiftprof.cli.output import Output, flops_text
from swiftprof.core.stages import BASE_LAYER, cut_layers
from swiftprof.planning.curve import Curve
from swiftprof.planning.plan_file import Plan
from swiftprof.tables import Table, percent

_EIGHTHS = " ▏▎▍▌▋▊▉"
_WIDEST_BAR = 44
_BESIDE_BAR = 52
"""Columns that a row needs beside its bar: layer, value, interval, frequency, mark."""


def show_plan(output: Output, curve: Curve | None, plan: Plan) -> None:
    """Print the curve, if any, with the chosen layers, the stages, the plan's cost and promise."""
    output.print(
        f"[bold]{{model}}[/bold]: prune at layer{'s'[: len(plan.pruning_layers) > 1]} "
        "[bold]{layers}[/bold] of {depth} ({method})\n",
        model=plan.model.name,
        layers=", ".join(map(str, plan.pruning_layers)),
        depth=plan.model.num_layers,
        method=plan.method,
    )
    tables = [stages_table(plan)]
    if curve is not None:
        width = max(8, min(_WIDEST_BAR, output.width - _BESIDE_BAR))
        tables.insert(0, curve_table(curve, plan, width))
    output.tables(*tables)
    output.print("\n" + "\n".join(cost_lines(plan)))


def curve_table(curve: Curve, plan: Plan, width: int) -> Table:
    """One row per candidate layer: bar, value, interval, share of resamples with it, its part."""
    sure = plan.stability
    low, high = min(0.0, float(curve.x.min())), float(curve.x.max())
    rows = []
    for layer, x in zip(curve.layers, curve.x, strict=True):
        filled = (float(x) - low) / (high - low) if high > low else 1.0
        row = [str(layer), _bar(filled, width), f"{x:.3f}"]
        if sure is not None:
            ends = (sure.interval or {}).get(str(layer), (0, 0))
            share = sure.layer_frequency.get(str(layer))
            row.append(f"{ends[0]:.3f}–{ends[1]:.3f}" if ends[0] < ends[1] else "")
            row.append(percent(share) if share else "")
        rows.append((*row, _part(layer, plan)))
    beside = ("95 % interval", "chosen") if sure is not None else ()
    columns = ("layer", "capability".ljust(width), "x", *beside, "")
    chosen = (n for n, layer in enumerate(curve.layers) if layer in plan.pruning_layers)
    return Table(columns, tuple(rows), left=(1, len(columns) - 1), marked=frozenset(chosen))


def stages_table(plan: Plan) -> Table:
    """One row per stretch of layers: which, and how many visual tokens enter them."""
    tokens = plan.model.visual_tokens
    starts = [cut + 1 for cut in cut_layers(plan.stages, plan.first)]
    ends = [*(start - 1 for start in starts[1:]), plan.model.num_layers]
    rows = []
    if starts[0] > 1:  # else tokens leave before the decoder
        rows.append((_span(1, starts[0] - 1), "100 %", "", str(tokens or "")))
    entering = plan.tokens_per_layer(tokens) if tokens else []
    for stage, start, end in zip(plan.stages, starts, ends, strict=True):
        count = f"{entering[start - 1]:.0f}" if entering and start <= end else ""
        merged = percent(stage.merge, 1) if stage.merge else ""
        rows.append((_span(start, end), percent(stage.keep, 1), merged, count))
    return Table(("layers", "kept", "merged", "visual tokens"), tuple(rows), left=())


def cost_lines(plan: Plan) -> list[str]:
    """Retained tokens, FLOPs, capability and stability as sentences."""
    expected, visual, stability = plan.expected, plan.model.visual_tokens, plan.stability
    lines = []
    if expected.retained_tokens is not None and visual:
        lines.append(
            f"Retained tokens  {expected.retained_tokens:.1f} of {visual} "
            f"({percent(expected.retained_tokens / visual, 1)}), averaged over layers"
        )
    elif plan.budget is not None and plan.budget.ratio is not None:
        lines.append(
            f"Retained tokens  {percent(plan.budget.ratio, 1)} of the prompt's visual tokens"
        )
    if expected.tflops is not None and expected.tflops_vanilla:
        lines.append(
            f"Prefill          {flops_text(expected.tflops, expected.tflops_vanilla)} "
            f"({percent(1 - expected.tflops / expected.tflops_vanilla)} less), overhead included"
        )
    if expected.area is not None:
        lines.append(
            f"Capability       {expected.area:.3f} on average over the layers from 2 on (P)"
        )
    if stability is not None and stability.plan_frequency is not None:
        lines.append(
            f"Stability        {percent(stability.plan_frequency)} of {stability.bootstrap} "
            f"resamples give these layers; regret {stability.regret or 0:.2g}"
        )
    return lines


def _part(layer: int, plan: Plan) -> str:
    if layer in plan.pruning_layers:
        return f"◀ stage {plan.pruning_layers.index(layer) + 1}"
    return "base" if layer == BASE_LAYER else ""


def _bar(filled: float, width: int) -> str:
    eighths = round(filled * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _span(first: int, last: int) -> str:
    return f"{first}–{last}" if last > first else str(first) if last == first else "none"
