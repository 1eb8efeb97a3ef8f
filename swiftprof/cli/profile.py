"""`swiftprof profile`: measure which layers can tell important visual tokens from others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swiftprof.cli.options import (
    AttnOpt,
    BatchSizeOpt,
    DatasetsOpt,
    DeviceOpt,
    DtypeOpt,
    JsonOpt,
    ModelOpt,
    SeedOpt,
    batch_size,
    split_list,
)
from swiftprof.cli.output import Output

__all__ = ["EXAMPLES", "profile"]

EXAMPLES = (
    "swiftprof profile",
    "swiftprof profile --samples 200 --keep 0.2 --seed 1",
    "swiftprof profile --model path/to/model --datasets scenes-ref,scenes-qa --out profiles/mine",
)
SAMPLES, BUNDLED_SAMPLES = 1000, 200


def profile(
    model: ModelOpt = None,
    datasets: DatasetsOpt = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            "--limit",
            min=1,
            help="Samples drawn from each data set's train split.",
            show_default=f"{SAMPLES}; {BUNDLED_SAMPLES} of a bundled data set",
        ),
    ] = None,
    keep: Annotated[
        float, typer.Option("--keep", "-V", help="V: share of visual tokens a selection holds.")
    ] = 0.2,
    seed: SeedOpt = 0,
    split: Annotated[str, typer.Option("--split", help="Split to draw from.")] = "train",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write.", show_default="profiles/<model>-<settings>"),
    ] = None,
    size: BatchSizeOpt = "auto",
    device: DeviceOpt = "auto",
    dtype: DtypeOpt = "auto",
    attn: AttnOpt = None,
    json: JsonOpt = False,
) -> None:
    """Measure every layer's capability x_i.

    Runs the model on each sample and records every layer's top visual tokens by text-to-vision
    attention; then runs it again on each layer's selection alone. Finished parts are kept: after
    an interruption the same command goes on where it stopped.
    """
    output = Output(json)
    from swiftprof.data.registry import BUNDLED, get_dataset
    from swiftprof.errors import SwiftprofError

    if not 0 < keep <= 1:
        raise SwiftprofError(f"--keep {keep:g}: V must lie in (0, 1]; 0.2 keeps a fifth")
    names = split_list(datasets) if datasets is not None else list(BUNDLED)
    if not names:
        raise SwiftprofError("--datasets: no name given; see swiftprof datasets")
    for name in names:
        get_dataset(name)
    bundled = set(names) <= set(BUNDLED)
    rows = batch_size(size)

    from swiftprof.cli.loading import load_model

    vlm = load_model(output, model, dtype, device, attn)
    from swiftprof.profiling.api import profile as measure

    with output.progress(f"profiling {vlm.name}") as step:
        done = measure(
            vlm,
            names,
            keep=keep,
            samples=samples or (BUNDLED_SAMPLES if bundled else SAMPLES),
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
