"""Do the visual tokens matter, and does it matter which? Tables for the bundled model.

    python benchmarks/tokens_that_matter.py --out profiles/tiny-llava/results.json

1. From layer 3 on the model sees a third of its visual tokens: a random third, or the third that
   one layer's attention selects.
2. Plans at 1/3 and 2/9 of the tokens: bypass, dropping, random selection, on the planned layers
   and on layers at equal depths, over the same held-out samples.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

import swiftprof
from swiftprof.data.registry import BUNDLED, draw, get_dataset
from swiftprof.evaluation.compare import VANILLA, compare
from swiftprof.evaluation.variants import without_merging
from swiftprof.planning.budget import fill_budget
from swiftprof.planning.plan_file import ModelInfo, Plan, Stage
from swiftprof.profiling.store import Profile

RATIOS = {"1/3": 1 / 3, "2/9": 2 / 9}


def plan_at(profile: Profile, layers: tuple[int, ...], ratio: float) -> Plan:
    """Bypass at given layers, filled like the planner's own plans."""
    model = profile.model
    assert model.visual_tokens is not None
    stages = fill_budget(layers, model.num_layers, model.visual_tokens, ratio * model.visual_tokens)
    return Plan(model=model, stages=stages)


def one_stage(model: ModelInfo, method: str, keep: float) -> Plan:
    """Layers 1 and 2 see everything, the others ``keep`` of the visual tokens."""
    return Plan(model=model, method=method, stages=(Stage(layer=2, keep=keep),))


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line per variant: score of each set, of its relations, relative to vanilla, tokens."""
    variants = list(dict.fromkeys(r["variant"] for r in rows))
    found = {(r["variant"], r["dataset"]): r for r in rows}
    head = ["", *BUNDLED, "relations", "relative", "tokens"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for variant in variants:
        mine = [found[variant, name] for name in BUNDLED]
        vanilla = [found[VANILLA, name] for name in BUNDLED]
        kinds = [v for r in mine for k, v in r["score_by_kind"].items() if k.endswith("-rel")]
        relative = [a["score"] / b["score"] for a, b in zip(mine, vanilla, strict=True)]
        cells = [variant, *(f"{r['score']:.3f}" for r in mine), f"{sum(kinds) / len(kinds):.3f}"]
        cells += [f"{100 * sum(relative) / len(relative):.1f} %"]
        cells += [f"{sum(r['retained_tokens'] for r in mine) / len(mine):.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, default=Path("profiles/tiny-llava"))
    parser.add_argument("--samples", type=int, default=400, help="held-out samples of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    vlm = swiftprof.load("tiny-llava")
    profile = swiftprof.Profile.load(args.profile)
    depth = profile.model.num_layers
    variants: dict[str, Plan | None] = {
        VANILLA: None,
        "random third from layer 3": one_stage(profile.model, "random", 1 / 3),
    }
    for name, ratio in RATIOS.items():
        planned = swiftprof.plan(profile, budget=3, ratio=ratio)
        first = planned.pruning_layers[0]
        equal = (first, first + (depth - first) // 3, first + 2 * (depth - first) // 3)
        for kind, plan in (("plan", planned), ("equal depths", plan_at(profile, equal, ratio))):
            label = f"{name} {kind} {','.join(map(str, plan.pruning_layers))}"
            variants[f"{label} bypass"] = plan
            variants[f"{label} drop"] = without_merging(plan, "drop")
            variants[f"{label} random"] = without_merging(plan, "random")
    rows = []
    for name in BUNDLED:
        dataset = get_dataset(name)
        indices = draw(dataset, "test", args.samples, args.seed)
        outcomes = compare(vlm, dataset, indices, variants)
        rows += [o.summary() for o in outcomes.values()]
        for outcome in outcomes.values():
            print(f"{name:12} {outcome.variant:34} {outcome.score:.3f}", flush=True)
    document = {
        "command": "python benchmarks/tokens_that_matter.py",
        "samples": args.samples,
        "seed": args.seed,
        "split": "test",
        "decoder": vars(vlm.decoder_shape),
        "versions": {
            "swiftprof": swiftprof.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "results": rows,
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    table = markdown(rows)
    args.out.with_suffix(".md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
