"""Yes-or-no sets: MME's scores over pairs, POPE's F1.

Sources: lmms-eval ``tasks/mme/utils.py`` and ``tasks/pope/utils.py``; LLaVA
``llava/eval/eval_pope.py``. Where those look for "no" among letters ("know", "now"), words are
compared here.
"""

from __future__ import annotations

import re
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
    """``yes``, ``no`` or ``other``, by the first word of an answer."""
    word = _first_word(text)
    if word in ("y", "n"):  # alone; "N. America" is no no
        return {"y": "yes", "n": "no"}[word] if len(text.split()) == 1 else "other"
    return {"yes": "yes", "no": "no", "not": "no"}.get(word, "other")


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
    """``yes``, ``no`` or ``other``.

    The first word, if it is yes or no. Else LLaVA's rule: a sentence affirms unless it has a "no"
    or "not". One or two words are no sentence ("know", "banana"); LLaVA's rule takes them for yes.
    """
    word = _first_word(text)
    if word in ("yes", "no", "not"):
        return "yes" if word == "yes" else "no"
    words = text.split(".")[0].replace(",", "").lower().split()
    if {"no", "not"} & set(words):
        return "no"
    return "yes" if len(words) > 2 else "other"


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
    answers = [pope_answer(s.prediction) for s in scored]
    said = [answer == "yes" for answer in answers]
    true = [s.answers[0] == "yes" for s in scored]
    hits = sum(a and b for a, b in zip(said, true, strict=True))
    precision = hits / sum(said) if any(said) else 0.0
    recall = hits / sum(true) if any(true) else 0.0
    exact = [s.prediction.lower().strip() == s.answers[0] for s in scored]
    return {
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "accuracy": sum(a == s.answers[0] for a, s in zip(answers, scored, strict=True))
        / len(scored),
        "accuracy_exact": sum(exact) / len(scored),
        "precision": precision,
        "recall": recall,
        "yes_ratio": sum(said) / len(scored),
    }


def _first_word(text: str) -> str:
    found = re.search(r"[^\W_]+", text)
    return found[0].lower() if found else ""
