"""`swiftprof profile`: measure which layers can tell important visual tokens from others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftprof.cli.errors import DONE
from swiftprof.cli.options import (
    BatchSizeOpt,
    DataRootOpt,
    DatasetsOpt,
    JsonOpt,
    LoadOptions,
    PromptStyleOpt,
    SeedOpt,
    batch_size,
    grouped,
    split_list,
)
from swiftprof.cli.output import Output
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.profiling.api import Unfinished
    from swiftprof.profiling.store import Profile

EXAMPLES = (
    "swiftprof profile",
    "swiftprof profile --samples 200 --keep 0.2 --seed 1",
    "swiftprof profile --model llava-1.5-7b --datasets refcoco,textvqa --data-root /data",
    "swiftprof profile --model path/to/model --datasets my/questions.jsonl --out profiles/mine",
    "swiftprof profile --race",
    "swiftprof profile --engine ray --workers 8",
    "swiftprof profile --num-shards 4 --shard-index 0 --out profiles/shared",
)
SAMPLES, BUNDLED_SAMPLES = 1000, 200
_MANY = "Many GPUs or machines"


@grouped()
def profile(
    load: LoadOptions,
    datasets: DatasetsOpt = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            "--limit",
            min=1,
            help="Samples drawn from each data set's train split.",
            show_default=f"{SAMPLES}, or all of a smaller set; {BUNDLED_SAMPLES} of a bundled set",
        ),
    ] = None,
    keep: Annotated[
        float, typer.Option("--keep", "-V", help="V: share of visual tokens a selection holds.")
    ] = 0.2,
    seed: SeedOpt = 0,
    split: Annotated[
        str | None, typer.Option("--split", help="Split to draw from.", show_default="train")
    ] = None,
    data_root: DataRootOpt = None,
    prompt_style: PromptStyleOpt = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write.", show_default="profiles/<model>-<settings>"),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            "--score",
            help="generation: answers and the set's metric; nll: likelihood of the reference "
            "answer, without decoding.",
        ),
    ] = "generation",
    race: Annotated[
        bool,
        typer.Option(
            "--race", help="Stop re-running layers that can no longer be planned (see the docs)."
        ),
    ] = False,
    race_risk: Annotated[
        float | None,
        typer.Option(
            "--race-risk",
            help="Chance, at most about, that the race changes a plan.",
            show_default="0.01",
        ),
    ] = None,
    size: BatchSizeOpt = "auto",
    engine: Annotated[
        str,
        typer.Option("--engine", help="local: this process; ray.", rich_help_panel=_MANY),
    ] = "local",
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            help="Models at a time (ray); auto is one per GPU.",
            rich_help_panel=_MANY,
        ),
    ] = "auto",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="Ray cluster: auto or ray://host:port.",
            show_default="start Ray here",
            rich_help_panel=_MANY,
        ),
    ] = None,
    num_shards: Annotated[
        int | None,
        typer.Option(
            "--num-shards",
            help="Processes that share the work.",
            show_default="from torchrun or Slurm",
            rich_help_panel=_MANY,
        ),
    ] = None,
    shard_index: Annotated[
        int | None,
        typer.Option("--shard-index", help="Which one this is, from 0.", rich_help_panel=_MANY),
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Measure every layer's capability x_i.

    Runs the model on each sample and records every layer's top visual tokens by text-to-vision
    attention; then runs it again on each layer's selection alone. Finished parts are kept: after
    an interruption the same command goes on where it stopped.
    """
    output = Output(json)
    from swiftprof.data.registry import BUNDLED, get_datasets

    if not 0 < keep <= 1:
        raise SwiftprofError(f"--keep {keep:g}: V must lie in (0, 1]; 0.2 keeps a fifth")
    names = split_list(datasets) if datasets is not None else list(BUNDLED)
    if not names:
        raise SwiftprofError("--datasets: no name given; see swiftprof datasets")
    sets = get_datasets(names, data_root)
    for each in sets:
        each.check_split(split or each.train_split)
    bundled = set(names) <= set(BUNDLED)
    rows = batch_size(size)
    if race_risk is not None and not race:
        raise SwiftprofError("--race-risk: goes with --race")
    from swiftprof.profiling.job import Request
    from swiftprof.profiling.race import DEFAULT_RISK
    from swiftprof.profiling.sharding import choose_shard

    request = Request(
        tuple(names),
        keep,
        samples or (BUNDLED_SAMPLES if bundled else None),
        seed,
        split,
        data_root,
        score,  # type: ignore[arg-type]  # checked there
        (DEFAULT_RISK if race_risk is None else race_risk) if race else None,
    )
    if engine not in ("local", "ray"):
        raise SwiftprofError(f"--engine {engine}: must be local or ray")
    from swiftprof.cli.loading import load_model, loader, source_name

    done: Profile | Unfinished
    if engine == "ray":
        if num_shards is not None or shard_index is not None:
            raise SwiftprofError("--num-shards: Ray hands out the work itself; leave it out")
        from swiftprof.profiling.engines.on_ray import profile_on_ray

        with output.progress(f"profiling {source_name(load)} on Ray") as step:
            done = profile_on_ray(
                loader(load, prompt_style),
                request,
                workers=_workers(workers),
                address=address,
                batch_size=rows,
                out=out,
                progress=step,
                warn=output.warn,
                note=output.note,
            )
    else:
        if workers != "auto" or address is not None:
            raise SwiftprofError("--workers and --address: go with --engine ray")
        shard = choose_shard(shard_index, num_shards)
        from swiftprof.profiling.api import check_race, run_shard

        check_race(request, shard)
        if shard.count > 1:
            output.note(f"shard index {shard.index} of {shard.count} shards (from {shard.origin})")
        vlm = load_model(output, replace(load, device=shard.device(load.device)), prompt_style)

        with output.progress(f"profiling {vlm.name}") as step:
            done = run_shard(
                vlm,
                request,
                shard,
                batch_size=rows,
                out=out,
                progress=step,
                warn=output.warn,
                note=output.note,
            )
    raise typer.Exit(_show(output, done))


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise SwiftprofError(f"--workers {text}: must be a whole number above 0, or auto")


def _show(output: Output, done: Profile | Unfinished) -> int:
    """Print the result; the exit code."""
    from swiftprof.profiling.store import Profile

    if not isinstance(done, Profile):
        output.document({"path": str(done.path), "parts": done.parts, "missing": done.missing})
        output.print(
            f"{done.path}/: {done.missing} of {done.parts} parts are still to come from other "
            f"shards. When they are there: swiftprof merge {done.path}"
        )
        return DONE
    return show_done(output, done)


def show_done(output: Output, done: Profile) -> int:
    """Print a finished profile; the exit code tells of skipped samples."""
    output.document({"path": str(done.path), **done.summary.model_dump(mode="json", by_alias=True)})
    if not output.as_json:
        from swiftprof.cli.show_profile import show_profile

        show_profile(output, done)
        output.print(f"\nWrote {done.path}/. Next: swiftprof plan {done.path} --budget 3")
    from swiftprof.cli.show_skipped import show_skipped

    summary = done.summary
    where = str(done.path / "profile.json")
    return show_skipped(output, summary.skipped, summary.samples, where)
