"""`swiftprof profile`: measure which layers can tell important visual tokens from others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from swiftprof.cli.errors import DONE, show_skipped
from swiftprof.cli.options import (
    BatchSizeOpt,
    DataOptions,
    JsonOpt,
    LoadOptions,
    SeedOpt,
    count_or_auto,
    grouped,
)
from swiftprof.cli.output import Output, check_out
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.profiling.api import Unfinished
    from swiftprof.profiling.store import Profile

EXAMPLES = (
    "swiftprof profile",
    "swiftprof profile --samples 200 --keep 0.2 --seed 1",
    "swiftprof profile --model llava-1.5-7b --datasets refcoco,textvqa --data-root /data",
    "swiftprof profile --model path/to/model --datasets my/questions.jsonl --out profiles/mine",
    "swiftprof profile --engine ray --workers 8",
    "swiftprof profile --num-shards 4 --shard-index 0 --out profiles/shared",
)
SAMPLES, BUNDLED_SAMPLES = 1000, 200


@dataclass(frozen=True)
class Spread:
    """How the work is spread."""

    panel: ClassVar[str] = "Many GPUs or machines"

    engine: Annotated[Literal["local", "ray"], typer.Option(help="local: this process; ray.")] = (
        "local"
    )
    workers: Annotated[str, typer.Option(help="Models at a time (ray); auto: one per GPU.")] = (
        "auto"
    )
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster: auto or ray://host:port.", show_default="start Ray here"),
    ] = None
    num_shards: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that share the work.", show_default="from torchrun or Slurm"
        ),
    ] = None
    shard_index: Annotated[int | None, typer.Option(help="Which one this is, from 0.")] = None

    def check(self) -> None:
        """Refuse options that do not go together. Raises SwiftprofError."""
        sharded = self.num_shards is not None or self.shard_index is not None
        if self.engine == "ray" and sharded:
            raise BadParameter("num_shards", None, "Ray hands out the work itself; leave it out")
        if self.engine == "local" and (self.workers != "auto" or self.address is not None):
            raise BadParameter("workers and address", None, "go with `engine` ray")


@grouped()
def profile(
    load: LoadOptions,
    data: DataOptions,
    spread: Spread,
    keep: Annotated[float, typer.Option(help="V: share of visual tokens a selection holds.")] = 0.2,
    score: Annotated[
        Literal["generation", "nll"],
        typer.Option(
            help="generation: answers and the set's metric; nll: likelihood of the reference "
            "answer, without decoding."
        ),
    ] = "generation",
    seed: SeedOpt = 0,
    size: BatchSizeOpt = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write.", show_default="profiles/<model>-<settings>"),
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Measure which layers know the important image tokens: every layer's capability x.

    Runs the model on each sample and records every layer's top visual tokens by text-to-vision
    attention; then runs it again on each layer's selection alone. By default 1000 samples of each
    set's train split, or all of a smaller one; 200 of a bundled set. Finished parts are kept:
    after an interruption the same command goes on where it stopped.
    """
    output = Output(json)
    spread.check()
    rows = count_or_auto("batch_size", size)
    workers = count_or_auto("workers", spread.workers)
    from swiftprof.cli.resolve import resolve
    from swiftprof.data.registry import BUNDLED
    from swiftprof.profiling.job import Request, choose_shard

    check_out(out, folder=True)
    chosen = resolve(load, data)
    for each in chosen.datasets():
        each.check_split(data.split or each.train_split)
    bundled = set(chosen.names) <= set(BUNDLED)
    request = Request(
        chosen.names,
        keep,
        data.samples or (BUNDLED_SAMPLES if bundled else None),
        seed,
        data.split,
        data.data_root,
        score,
    )
    on_ray = spread.engine == "ray"
    if on_ray:
        from swiftprof.profiling.on_ray import profile_on_ray
    else:
        from swiftprof.profiling.api import run_shard

        shard = choose_shard(spread.shard_index, spread.num_shards)
        if shard.count > 1:
            output.note(f"shard index {shard.index} of {shard.count} shards (from {shard.origin})")
        here = replace(chosen.load, device=shard.device(load.device))
        vlm = replace(chosen, load=here).load_model(output)
    with output.progress(f"profiling {chosen.source.name}") as step:
        how: Any = {"batch_size": rows, "out": out, "progress": step}
        how |= {"warn": output.warn, "note": output.note}
        done = (
            profile_on_ray(chosen.loader(), request, workers=workers, address=spread.address, **how)
            if on_ray
            else run_shard(vlm, request, shard, **how)
        )
    raise typer.Exit(_show(output, done))


def _show(output: Output, done: Profile | Unfinished) -> int:
    """Print the result; the exit code."""
    from swiftprof.profiling.store import Profile

    if not isinstance(done, Profile):
        output.document({"path": str(done.path), "parts": done.parts, "missing": done.missing})
        output.print(
            "{path}/: {missing} of {parts} parts are still to come from other shards. "
            "When they are there:",
            path=done.path,
            missing=done.missing,
            parts=done.parts,
        )
        output.next("merge", done.path)
        return DONE
    return show_done(output, done)


def show_done(output: Output, done: Profile) -> int:
    """Print a finished profile; the exit code tells of skipped samples."""
    output.document({"path": str(done.path), **done.summary.model_dump(mode="json", by_alias=True)})
    if not output.as_json:
        show_profile(output, done)
        show_profile(output, done)
        output.print("\nWrote {path}/", path=done.path)
        output.next("plan", done.path, "--budget", 3)
    summary = done.summary
    where = str(done.path / "profile.json")
    return show_skipped(output, summary.skipped, summary.samples, where, summary.left_out)


FEW = 100
"""Samples a set below which x above 1 is called noise."""


def show_profile(output: Output, profile: Profile) -> None:
    """Print the capability of every layer, per data set and combined."""
    from swiftprof.tables import Table

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
