"""``results.json``: scores, averages, costs and tests of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from swiftprof.costs.flops import FORMULA
from swiftprof.data.asking import Skipped
from swiftprof.data.base import Dataset
from swiftprof.evaluation.answer import VANILLA, Answer
from swiftprof.evaluation.compare import set_metrics
from swiftprof.evaluation.settings import EvalSettings, VariantSettings
from swiftprof.evaluation.statistics import Scores, compare_paired, estimate, holm

SCHEMA = "swiftprof.eval/1"
GROUPS = ("localization", "non_localization", "overall")

Answers = Mapping[str, Mapping[str, Sequence[Answer]]]
"""Variant -> data set -> answers in the order drawn."""


def summarise(
    settings: EvalSettings,
    datasets: Sequence[Dataset],
    answers: Answers,
    skipped: Mapping[str, Sequence[Skipped]],
    *,
    reference: str | None = None,
    bootstrap_seed: int = 0,
) -> dict[str, Any]:
    """Everything that tables and reports show.

    Args:
        settings: what was measured.
        datasets: the data sets, in the order of the columns.
        answers: all variants on all of them.
        skipped: samples that could not be used.
        reference: label of the method that the others are compared with at each budget; SwiftVLM
            where it is there, else the first.
    """
    groups = _groups(datasets)
    scores = {
        variant: {name: np.array([a.score for a in found]) for name, found in sets.items()}
        for variant, sets in answers.items()
    }
    vanilla = scores[VANILLA]
    rows = [
        _row(variant, datasets, answers[variant.name], scores[variant.name], vanilla, groups)
        for variant in settings.variants
    ]
    return {
        "schema": SCHEMA,
        "settings": settings.model_dump(mode="json"),
        "groups": {name: list(sets) for name, sets in groups.items()},
        "samples": {d.name: len(answers[VANILLA][d.name]) for d in datasets},
        "skipped": {name: [vars(s) for s in each] for name, each in skipped.items() if each},
        "formula": FORMULA,
        "rows": rows,
        "tests": _tests(settings.variants, scores, groups, reference, bootstrap_seed),
    }


def _groups(datasets: Sequence[Dataset]) -> dict[str, tuple[str, ...]]:
    boxes = tuple(d.name for d in datasets if d.localization)
    others = tuple(d.name for d in datasets if not d.localization)
    return dict(zip(GROUPS, (boxes, others, boxes + others), strict=True))


def _row(
    variant: VariantSettings,
    datasets: Sequence[Dataset],
    answers: Mapping[str, Sequence[Answer]],
    scores: Scores,
    vanilla: Scores,
    groups: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    every = [a for found in answers.values() for a in found]
    retained, flops = ([getattr(a, key) for a in every] for key in ("retained", "tflops"))
    return {
        "variant": variant.name,
        "label": variant.label,
        "budget": variant.budget,
        "pruning_layers": [s["layer"] for s in variant.plan["stages"]] if variant.plan else [],
        "scores": {
            d.name: {
                "score": float(scores[d.name].mean()),
                "relative": _interval({d.name: scores[d.name]}, vanilla),
                "by_kind": _by_kind(answers[d.name]),
                "metrics": set_metrics(d, answers[d.name]),
                "retained": float(np.mean([a.retained for a in answers[d.name]])),
                "tflops": float(np.mean([a.tflops for a in answers[d.name]])),
            }
            for d in datasets
        },
        "averages": {
            name: _interval({s: scores[s] for s in sets}, vanilla) for name, sets in groups.items()
        },
        "retained": {
            "mean": float(np.mean(retained)),
            "least": min(retained),
            "most": max(retained),
            "share": float(np.mean([a.retained / a.n_visual for a in every if a.n_visual])),
        },
        "tflops": float(np.mean(flops)),
        "seconds": float(sum(a.seconds for a in every)),
    }


def _interval(scores: Scores, vanilla: Scores) -> dict[str, float] | None:
    found = estimate(scores, vanilla)
    return None if found is None else dict(vars(found))


def _by_kind(answers: Sequence[Answer]) -> dict[str, float]:
    if not any(each.kind for each in answers):
        return {}
    kinds: dict[str, list[float]] = {}
    for each in answers:
        kinds.setdefault(each.kind, []).append(each.score)
    return {kind: float(np.mean(values)) for kind, values in sorted(kinds.items())}


def _tests(
    variants: Sequence[VariantSettings],
    scores: Mapping[str, Scores],
    groups: Mapping[str, Sequence[str]],
    reference: str | None,
    seed: int,
) -> list[dict[str, Any]]:
    """Every method against the reference at the same budget, corrected over the methods."""
    tests: list[dict[str, Any]] = []
    for budget in dict.fromkeys(v.budget for v in variants if v.budget):
        mine = [v for v in variants if v.budget == budget]
        labels = [v.label for v in mine]
        base = reference or "swiftvlm"
        against = mine[labels.index(base)] if base in labels else mine[0]
        others = [v for v in mine if v is not against]
        for group, sets in groups.items():
            found = []
            for other in others:
                a, b = ({s: scores[v.name][s] for s in sets} for v in (other, against))
                compared = compare_paired(a, b, scores[VANILLA], seed=seed)
                if compared is not None:
                    found.append((other, compared))
            corrected = holm([compared.p for _, compared in found])
            tests += [
                {
                    "budget": budget,
                    "method": other.label,
                    "reference": against.label,
                    "group": group,
                    "difference": vars(compared.difference),
                    "p": compared.p,
                    "p_holm": p,
                }
                for (other, compared), p in zip(found, corrected, strict=True)
            ]
    return tests
