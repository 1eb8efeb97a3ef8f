"""Results as Markdown, in the form of the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {
    "localization": "localization",
    "non_localization": "non-localization",
    "overall": "all sets",
}

LADDER = {
    "pdrop:positions=kept": "dropping at equal depths, positions kept",
    "drop": "+ planned layers",
    "merge": "+ merging",
    "swiftvlm": "+ bypass",
}
"""The ablation of paper Table 3, by label."""

OWN_BUDGET = "own budget"
"""Budget of a plan that is taken as it is."""

_SIGNIFICANT = 0.05


def markdown(results: Mapping[str, Any]) -> str:
    """Scores and averages by budget, then the tests."""
    settings = results["settings"]
    lines = [*scores_table(results), "", _caption(results), ""]
    note = ladder_note(results)
    if note:
        lines += [note, ""]
    tests = tests_table(results)
    if tests:
        lines += [*tests, ""]
    lines += [f"- {name}: {text}" for name, text in settings["protocol"].items()]
    if results.get("command"):
        lines += ["", f"    {results['command']}"]
    return "\n".join(lines) + "\n"


def scores_table(results: Mapping[str, Any]) -> list[str]:
    """One row per method under a heading per budget; scores with their share of vanilla's."""
    groups = [(g, sets) for g, sets in results["groups"].items() if sets]
    if len(groups) == 2:  # all sets are of one kind, and `overall` repeats it
        groups = groups[:1]
    head, columns = ["method"], []
    for group, sets in groups:
        if group != "overall":
            head += sets
            columns += [("set", name) for name in sets]
        head.append(f"{NAMES[group]} avg.")
        columns.append(("average", group))
    unit, factor = flops_unit(results)
    head += ["tokens", unit]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    budget = None
    for row in results["rows"]:
        if row["budget"] != budget:
            budget = row["budget"]
            title = budget_title(row, results["settings"])
            lines.append(f"| **{title}** |" + " |" * (len(head) - 1))
        cells = [row["label"]]
        for kind, name in columns:
            if kind == "set":
                found = row["scores"][name]
                relative = found["relative"]
                cells.append(
                    f"{found['score']:.3f}" + (f" ({share(relative)})" if relative else "")
                )
            else:
                cells.append(interval(row["averages"][name]))
        cells += [tokens(row), f"{factor * row['tflops']:.3g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def tests_table(results: Mapping[str, Any]) -> list[str]:
    """Differences to the reference method at the same budget."""
    if not results["tests"]:
        return []
    lines = [
        "| budget | method | against | on | difference | 95 % interval | p | p (Holm) |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for test in results["tests"]:
        if test["group"] == "overall" and len([g for g in results["groups"].values() if g]) < 3:
            continue
        d = test["difference"]
        lines.append(
            f"| {test['budget']} | {test['method']} | {test['reference']} | {NAMES[test['group']]} "
            f"| {100 * d['value']:+.1f} | {100 * d['low']:+.1f} to {100 * d['high']:+.1f} "
            f"| {p_text(test['p'])} | {p_text(test['p_holm'])} |"
        )
    return lines


def ladder_note(results: Mapping[str, Any]) -> str:
    """What each step of the ablation adds, where all of them are there; else empty."""
    labels = {row["label"] for row in results["rows"]}
    if not set(LADDER) <= labels:
        return ""
    return "; ".join(f"{label}: {text}" for label, text in LADDER.items())


def budget_title(row: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """`Retain 192 tokens of 576`, as the budget was asked for, or the upper bound."""
    whole, budget = settings["model"]["visual_tokens"], row["budget"]
    if not budget:
        return f"Upper bound, {whole} tokens" if whole else "Upper bound, all tokens"
    if "TFLOPs" in budget or budget == OWN_BUDGET:
        return budget
    if "of the tokens" in budget:
        return f"Retain {budget}" + (f" ({whole})" if whole else "")
    return f"Retain {budget}" + (f" of {whole}" if whole else "")


def share(relative: Mapping[str, float]) -> str:
    """A relative score as a percentage."""
    return f"{100 * relative['value']:.1f} %"


def interval(found: Mapping[str, float] | None) -> str:
    """A relative score and its interval."""
    if found is None:
        return "–"
    text = f"{100 * found['value']:.1f} %"
    if found["low"] == found["high"]:
        return text
    return f"{text} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def tokens(row: Mapping[str, Any]) -> str:
    """Retained tokens, with their range where samples differ."""
    found = row["retained"]
    text = f"{found['mean']:.1f}"
    if found["most"] - found["least"] > 0.05:
        text += f" ({found['least']:.0f} to {found['most']:.0f})"
    return text


def flops_unit(results: Mapping[str, Any]) -> tuple[str, int]:
    """TFLOPs, or GFLOPs for small models."""
    return ("TFLOPs", 1) if results["rows"][0]["tflops"] >= 0.1 else ("GFLOPs", 1000)


def p_text(p: float) -> str:
    """A p value, no more exact than it is."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(tests: Sequence[Mapping[str, Any]], label: str, budget: str, group: str) -> str:
    """How a method compares with the reference: `worse`, `better`, or empty within noise."""
    for test in tests:
        if (test["method"], test["budget"], test["group"]) == (label, budget, group):
            if test["p_holm"] >= _SIGNIFICANT:
                return ""
            return "worse" if test["difference"]["value"] < 0 else "better"
    return ""


def _caption(results: Mapping[str, Any]) -> str:
    settings = results["settings"]
    counts = sorted(set(results["samples"].values()))
    number = " to ".join(str(c) for c in dict.fromkeys((counts[0], counts[-1])))
    return (
        f"{settings['model']['name']}, {number} samples a set (seed {settings['seed']}), the same "
        "for all methods. Averages: score relative to vanilla, mean over the sets, with 95 % "
        "intervals of a paired bootstrap; their differences are tested by flipping signs of paired "
        "differences. Tokens: visual tokens that really entered a layer, averaged over all layers. "
        f"FLOPs of the prefill: {results['formula']}."
    )
