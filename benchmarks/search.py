"""Searched plans beside the paper's, on the test split.

    python -m benchmarks.search --out runs/search --profile profiles/tiny-llava

For each model and budget: the paper's plan, a search at its FLOPs and one at its tokens, and the
preset at the same. What is finished is not repeated, so the command goes on where it was stopped;
`--only search` and `--only test` split the work.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

import swiftprof
from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_datasets
from swiftprof.planning.plan_file import Plan
from swiftprof.search.api import search_plan
from swiftprof.search.measure import Drawn, Meter
from swiftprof.search.pricing import Equal, Pricing
from swiftprof.search.race import gain
from swiftprof.search.store import Store

RATIOS = ("1/2", "1/3", "2/9", "1/6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", action="append", required=True, help="a folder, one a model")
    parser.add_argument("--ratio", action="append", help=f"budgets; {', '.join(RATIOS)} if none")
    parser.add_argument("--equal", action="append", choices=("flops", "tokens"))
    parser.add_argument("--limit", default="100", help="as in swiftprof plan --search")
    parser.add_argument("--calibration", type=int, default=600, help="samples a set to search with")
    parser.add_argument("--samples", type=int, default=250, help="test samples a set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("search", "test"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for folder in given.profile:
        profile = swiftprof.Profile.load(folder)
        vlm = swiftprof.load(profile.model.name)
        for ratio in given.ratio or RATIOS:
            for equal in given.equal or ("flops", "tokens"):
                one(vlm, profile, ratio, equal, given)


def one(vlm: Any, profile: Any, ratio: str, equal: Equal, given: argparse.Namespace) -> None:
    """One search and its row of the table."""
    name = f"{vlm.name}-{ratio.replace('/', '_')}-{equal}-{given.seed}"
    path, share = given.out / f"{name}.json", float(Fraction(ratio))
    if not path.exists() and given.only != "test":
        found = search_plan(
            vlm, profile, limit=given.limit, ratio=share, equal=equal, seed=given.seed,
            samples=given.calibration, folder=given.out / name,
        )  # fmt: skip
        found.save(path)
    if given.only == "search" or not path.exists():
        return
    plan = Plan.load(path)
    assert plan.search is not None
    paper = swiftprof.plan(profile, ratio=share, bootstrap=0)
    winner = plan if plan.search.better else Plan.model_validate(plan.search.other)
    sets = []
    for dataset in get_datasets(list(profile.summary.settings.datasets)):
        drawn = tuple(draw(dataset, "test", given.samples, given.seed, at_most=True))
        sets.append(Drawn(dataset, "test", (), (), drawn))
    settings = {"model": vlm.name, "test": given.samples, "seed": given.seed}
    meter = Meter(
        vlm, sets, Store(given.out / f"test-{vlm.name}-{given.samples}-{given.seed}", settings)
    )
    calibration = [Drawn(d.dataset, "test", d.report, (), ()) for d in sets]
    sized = Meter(vlm, calibration, Store(None, {}))
    pricing = Pricing.of(vlm, paper, equal, sized)
    often = pricing.preset()
    assert often is not None
    preset = pricing.plan(often)
    assert preset is not None
    values = dict(
        zip(
            ("paper", "searched", "preset"),
            meter.answers([paper, winner, preset], "report", lambda: None),
            strict=True,
        )
    )
    row: dict[str, Any] = {"name": name, "returned": "searched" if plan.search.better else "paper"}
    for label, each in values.items():
        parts = np.split(each, len(sets)) if len(each) % len(sets) == 0 else [each]
        row[label] = [round(100 * float(np.mean(part)), 1) for part in [each, *parts]]
    for label in ("searched", "preset"):
        apart = gain(values[label], values["paper"])
        row[f"{label} - paper"] = [round(100 * v, 1) for v in (apart.mean, apart.low, apart.high)]
    row["layers"] = list(winner.pruning_layers)
    row["options"] = dict(winner.options)
    print(json.dumps(row), flush=True)
    with (given.out / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
