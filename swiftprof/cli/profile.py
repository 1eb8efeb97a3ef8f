"""`swiftprof profile`: measure which layers can tell important visual tokens from others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftprof.cli.options import (
    BatchSizeOpt,
    DataRootOpt,
    DatasetsOpt,
    JsonOpt,
    LoadOptions,
    PromptStyleOpt,
    SeedOpt,
    batch_size,
    split_list,
    takes_model,
)
from swiftprof.cli.output import Output

__all__ = ["EXAMPLES", "profile"]

EXAMPLES = (
    "swiftprof profile",
    "swiftprof profile --samples 200 --keep 0.2 --seed 1",
    "swiftprof profile --model llava-1.5-7b --datasets refcoco,textvqa --data-root /data",
    "swiftprof profile --model path/to/model --datasets my/questions.jsonl --out profiles/mine",
)
SAMPLES, BUNDLED_SAMPLES = 1000, 200


@takes_model
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
    size: BatchSizeOpt = "auto",
    json: JsonOpt = False,
) -> None:
    """Measure every layer's capability x_i.

    Runs the model on each sample and records every layer's top visual tokens by text-to-vision
    attention; then runs it again on each layer's selection alone. Finished parts are kept: after
    an interruption the same command goes on where it stopped.
    """
    output = Output(json)
    from swiftprof.data.registry import BUNDLED, get_datasets
    from swiftprof.errors import SwiftprofError

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

    from swiftprof.cli.loading import load_model

    vlm = load_model(output, load, prompt_style)
    from swiftprof.profiling.api import profile as measure

    with output.progress(f"profiling {vlm.name}") as step:
        done = measure(
            vlm,
            sets,
            keep=keep,
            samples=samples or (BUNDLED_SAMPLES if bundled else None),
            seed=seed,
            split=split,
            batch_size=rows,
            out=out,
            progress=step,
        )
    output.document({"path": str(done.path), **done.summary.model_dump(mode="json", by_alias=True)})
    if not json:
        from swiftprof.cli.show_profile import show_profile

        show_profile(output, done)
        output.print(f"\nWrote {done.path}/. Next: swiftprof plan {done.path} --budget 3")
    from swiftprof.cli.show_skipped import show_skipped

    summary = done.summary
    raise typer.Exit(
        show_skipped(output, summary.skipped, summary.samples, str(done.path / "profile.json"))
    )
