"""Yes-or-no sets: MME's scores over pairs, POPE's F1.

Sources: lmms-eval ``tasks/mme/utils.py`` and ``tasks/pope/utils.py``; LLaVA
``llava/eval/eval_pope.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from swiftprof.data.base import Scored

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)


def mme_answer(text: str) -> str:
    """``yes``, ``no`` or ``other``, from the first four characters of an answer."""
    text = text.lower().strip().replace(".", "")
    if text in ("y", "n"):
        return "yes" if text == "y" else "no"
    start = text[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def mme_metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """MME's scores. A category is worth up to 200: 100 acc (questions) + 100 acc+ (whole pairs).

    ``perception`` (up to 2000) and ``cognition`` (up to 800) are sums over categories and appear
    only where all their categories do. A group that is not a pair, because its other half is
    broken, is left out and counted in ``incomplete_pairs``.
    """
    pairs: dict[tuple[str, str], list[float]] = {}
    for each in scored:
        pairs.setdefault((each.kind, each.group), []).append(each.score)
    whole = {key: scores for key, scores in pairs.items() if len(scores) == 2}
    per_category: dict[str, list[float]] = {}
    for (category, _), scores in whole.items():
        value = 100 * sum(scores) / 2 + 100 * (sum(scores) == 2)
        per_category.setdefault(category, []).append(value)
    means = {c: sum(v) / len(v) for c, v in per_category.items()}
    out: dict[str, float] = {}
    for name, categories in (("perception", PERCEPTION), ("cognition", COGNITION)):
        if all(c in means for c in categories):
            out[name] = sum(means[c] for c in categories)
    if whole:
        out["acc"] = sum(sum(s) / 2 for s in whole.values()) / len(whole)
        out["acc+"] = sum(sum(s) == 2 for s in whole.values()) / len(whole)
    out |= {f"mme {category}": means[category] for category in sorted(means)}
    if len(whole) < len(pairs):
        out["incomplete_pairs"] = len(pairs) - len(whole)
    return out


def pope_answer(text: str) -> str:
    """``no`` where the first sentence has a no or not, else ``yes`` (LLaVA's rule)."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def pope_metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """Accuracy, precision, recall and F1 on "yes", and the share of yes **among predictions**.

    Per subset, and ``f1`` and ``accuracy`` as means over the subsets that are there: the headline
    of LLaVA-1.5 is the mean F1, others print accuracy. ``accuracy_exact`` counts only answers that
    are the bare word, as lmms-eval does.
    """
    subsets: dict[str, list[Scored]] = {}
    for each in scored:
        subsets.setdefault(each.kind, []).append(each)
    out: dict[str, float] = {}
    for name in sorted(subsets):
        for metric, value in _yes_no(subsets[name]).items():
            out[f"{name} {metric}"] = value
    names = ("f1", "accuracy", "accuracy_exact", "yes_ratio")
    means = {m: sum(out[f"{s} {m}"] for s in subsets) / len(subsets) for m in names if subsets}
    return {**means, **out}


def _yes_no(scored: Sequence[Scored]) -> dict[str, float]:
    said = [pope_answer(s.prediction) == "yes" for s in scored]
    true = [s.answers[0] == "yes" for s in scored]
    hits = sum(a and b for a, b in zip(said, true, strict=True))
    precision = hits / sum(said) if any(said) else 0.0
    recall = hits / sum(true) if any(true) else 0.0
    exact = [s.prediction.lower().strip() == s.answers[0] for s in scored]
    return {
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "accuracy": sum(a == b for a, b in zip(said, true, strict=True)) / len(scored),
        "accuracy_exact": sum(exact) / len(scored),
        "precision": precision,
        "recall": recall,
        "yes_ratio": sum(said) / len(scored),
    }
