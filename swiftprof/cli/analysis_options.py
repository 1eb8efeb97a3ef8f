"""Options that analyses share, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from swiftprof.cli.analysis_request import FOLDER
from swiftprof.cli.options import (
    BatchSizeOpt,
    BudgetOpt,
    DataRootOpt,
    DatasetsOpt,
    JsonOpt,
    ModelOpt,
    SeedOpt,
    SplitOpt,
)

ProfileOpt = Annotated[
    Path | None,
    typer.Option("--profile", help="A profile folder.", show_default="the model's newest"),
]
OutOpt = Annotated[
    Path, typer.Option("--out", help="Folder for the figure (PNG, SVG) and table (JSON, Markdown).")
]
MethodsOpt = Annotated[
    str, typer.Option("--methods", help="Methods to compare, as for swiftprof eval.")
]
PLANNED = "drop,swiftvlm"
PICTURED = "fastv,pdrop,feather,swiftvlm"
ALL_METHODS = "random,fastv,visionzip,pdrop,sparsevlm,feather,drop,swiftvlm"
RATIOS = "1/2,1/3,2/9,1/6"
SHARES = "0.05,0.1,0.4"
SAMPLES = {
    "ranks": 50,
    "reading": 100,
    "alignment": 20,
    "overlap": 100,
    "pictures": 60,
    "plans": 50,
    "pareto": 100,
}


@dataclass(frozen=True)
class FromProfile:
    """What an analysis reads and writes, where a profile is enough."""

    profile: ProfileOpt = None
    model: ModelOpt = None
    budget: BudgetOpt = 3
    out: OutOpt = FOLDER
    json: JsonOpt = False


@dataclass(frozen=True)
class WithModel:
    """What an analysis reads and writes, where the model is run."""

    profile: ProfileOpt = None
    datasets: DatasetsOpt = None
    data_root: DataRootOpt = None
    samples: Annotated[
        int | None,
        typer.Option("--samples", "--limit", min=1, help="Samples of each data set."),
    ] = None
    split: SplitOpt = None
    seed: SeedOpt = 0
    out: OutOpt = FOLDER
    size: BatchSizeOpt = "auto"
    json: JsonOpt = False


@dataclass(frozen=True)
class Pruning:
    """How many layers prune, and how many visual tokens are retained."""

    budget: BudgetOpt = 3
    ratio: Annotated[
        str | None,
        typer.Option(
            "--ratio", help="Visual tokens to retain, as a fraction of all.", show_default="1/3"
        ),
    ] = None
    retain: Annotated[
        str | None, typer.Option("--retain", help="The same as a number of tokens.")
    ] = None
