"""The comparison behind the README's table: both bundled models, every method, several budgets.

    python benchmarks/evidence.py --out evidence --samples 250
    python benchmarks/evidence.py --out evidence --table --pictures evidence

Every budget N is compared twice: at equal tokens, and at the FLOPs that the paper's plan costs at
that N. Plans found by search are taken from `--plans` where they are there; they are called
`<model>-1_3-<tokens|flops>.json`. What was answered is kept in the folder: the same command goes on
where it was stopped. A method that cannot have a budget is left out, which is said.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import swiftprof
from swiftprof.data.asking import prompt_sizes
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.api import evaluate
from swiftprof.evaluation.drawing import score_figure
from swiftprof.evaluation.results import Results
from swiftprof.evaluation.settings import VariantSettings
from swiftprof.evaluation.specs import Planner, TargetText, parse_spec
from swiftprof.evaluation.table import mark
from swiftprof.methods import create
from swiftprof.planning.fill import Cost, Target
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.store import Profile
from swiftprof.tiny import bundled_profiles

PAPER = "swiftvlm"
METHODS = (
    PAPER,
    "drop",
    "pdrop",
    "pdrop:positions=kept",
    "pdrop@planned:positions=kept",
    "fastv",
    "fastv@planned",
    "sparsevlm",
    "sparsevlm@planned",
    "sparsevlm-plus",
    "feather",
    "feather@planned",
    "divprune",
    "cdpruner-embeddings",
    "dart",
    "vispruner",
    "hiprune",
    "pool",
    "random",
    "uniform",
)
OFTEN = "often"
"""Judged often, a share spread, without measuring anything."""
RATIOS = ("1/2", "1/3", "2/9", "1/6")
MODELS = ("tiny-llava-plain", "tiny-llava")
SEARCHED = "swiftvlm, searched"
SHOWN = (PAPER, OFTEN, SEARCHED, "drop", "pdrop:positions=kept", "divprune", "sparsevlm", "random")
"""Methods in the pictures, as many as there are colours."""


def variants_at(
    planner: Planner, model: str, ratio: str, methods: list[str], plans: Path | None
) -> list[VariantSettings]:
    """All methods at a budget, at equal tokens and at the FLOPs of the paper's plan."""
    above, _, below = ratio.partition("/")
    share = float(above) / float(below or 1)
    budgets = [("tokens", TargetText(f"{ratio} of the tokens", Target(ratio=share)))]
    try:
        paper = planner.variants([parse_spec(PAPER)], [budgets[0][1]])[-1].load()
        assert paper is not None
        again = planner.cost.tflops(paper.stages, create(PAPER))
        text = f"FLOPs of the paper's plan at {ratio}"
        budgets.append(("flops", TargetText(text, Target(flops=again))))
    except SwiftprofError as error:
        print(f"{model} at {ratio}: {error}", file=sys.stderr)
    found: list[VariantSettings] = []
    for kind, budget in budgets:
        impossible: list[str] = []
        found += planner.variants([parse_spec(each) for each in methods], [budget], impossible)[1:]
        for why in impossible:
            print(f"{model}: {why}", file=sys.stderr)
        path = plans and plans / f"{model}-{ratio.replace('/', '_')}-{kind}.json"
        if path and path.is_file():
            found.append(VariantSettings.of(SEARCHED, budget.text, Plan.load(path)))
    return found


def table(folder: Path, model: str, ratios: list[str]) -> str:
    """What is there of a model: a row per method, a column per budget.

    A cell holds the mean over the sets in % of the unpruned model's, with half of its 95 %
    interval: at equal tokens, then at the FLOPs of the paper's plan.
    """
    cells: dict[str, dict[tuple[str, bool], str]] = {}
    there = [
        ratio for ratio in ratios if (_folder(folder, model, ratio) / "results.json").is_file()
    ]
    for ratio in there:
        results = Results.load(_folder(folder, model, ratio))
        for row in results.rows:
            average = row.averages["overall"]
            if not row.budget or average is None:
                continue
            half = 50 * (average.high - average.low)
            text = f"{100 * average.value:.1f} ±{half:.1f}{mark(results.tests, row, 'overall')}"
            cells.setdefault(row.label, {})[ratio, row.budget.startswith("FLOPs")] = text
    lines = ["| method | " + " | ".join(there) + " |", "|---|" + "---:|" * len(there)]
    for label, found in cells.items():
        each = [
            " · ".join(found.get((ratio, flops), "–") for flops in (False, True)) for ratio in there
        ]
        lines.append(f"| {label} | " + " | ".join(each) + " |")
    return "\n".join(lines)


def picture(folder: Path, model: str, ratios: list[str], path: Path) -> None:
    """Score against FLOPs over all budgets that are there, of the methods in `SHOWN`."""
    there = [_folder(folder, model, ratio) for ratio in ratios]
    loaded = [Results.load(each) for each in there if (each / "results.json").is_file()]
    rows = [
        row
        for each in loaded
        for row in each.rows
        if row.budget.startswith("FLOPs") and row.label in SHOWN
    ]
    merged = loaded[0].model_copy(update={"rows": (loaded[0].rows[0], *rows)})
    score_figure(merged, "flops").savefig(path, dpi=120)


def _folder(folder: Path, model: str, ratio: str) -> Path:
    return folder / model / ratio.replace("/", "_")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--ratios", default=",".join(RATIOS))
    parser.add_argument("--methods", default=",".join((*METHODS, OFTEN)))
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--plans", type=Path, help="folder with plans found by search")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--pictures", type=Path, help="with --table: draw it into this folder")
    args = parser.parse_args()
    methods = args.methods.split(",")
    if args.table:
        for model in args.models.split(","):
            print(f"\n`{model}`\n\n{table(args.out, model, args.ratios.split(','))}")
            if args.pictures:
                path = args.pictures / f"{model}-front.png"
                picture(args.out, model, args.ratios.split(","), path)
        return
    for model in args.models.split(","):
        vlm = swiftprof.load(model)
        profile = Profile.load(bundled_profiles()[model])
        drawn = [(d, "test", draw(d, "test", args.samples, 0)) for d in get_datasets(BUNDLED)]
        cost = Cost(vlm.info, vlm.decoder_shape, prompt_sizes(vlm, drawn)[1])
        planner = Planner(cost, profile)
        for ratio in args.ratios.split(","):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = variants_at(planner, model, ratio, methods, args.plans)
            done = evaluate(
                vlm,
                found,
                BUNDLED,
                samples=args.samples,
                out=_folder(args.out, model, ratio),
                reference=PAPER,
                command=" ".join(["python", *sys.argv]),
            )
            print(f"\n## {model}, {ratio}\n\n{done.markdown()}", flush=True)


if __name__ == "__main__":
    main()
