"""Results as tables, in the form of the paper's Table 1: built once, shown anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from swiftprof.evaluation.results import PairedTest, Results, VariantResult
from swiftprof.evaluation.statistics import Estimate
from swiftprof.tables import Table, flops_unit, markdown_text, percent, signed, times

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

SIGNIFICANT = 0.05
MANY = 2
"""Budgets up to which the findings name every group of data sets."""
SET_WIDTH, GROUP_WIDTH = 18, 25
"""Letters that the scores of a data set take, and those of an average over several."""


def tables(results: Results, width: int | None = None) -> list[Table]:
    """All tables of an evaluation.

    Args:
        width: of the place where they are shown, in letters. In a narrow one data sets stand below
            each other, and only the average over all of them is shown.
    """
    names = list(results.samples)
    size = len(names) if width is None else max(1, (width - 20) // SET_WIDTH)
    groups = shown_groups(results)
    if width is not None and width < 40 + GROUP_WIDTH * len(groups):
        groups = groups[-1:]
    return [
        averages_table(results, groups),
        *(scores_table(results, names[i : i + size]) for i in range(0, len(names), size)),
        *(each for name in names if (each := metrics_table(results, name)).rows),
        *([tests_table(results, groups)] if results.tests else []),
    ]


def averages_table(results: Results, groups: Sequence[str]) -> Table:
    """Averages over data sets and costs, a row per method under a heading per budget."""
    unit, scaled = flops_unit(results.rows[0].tflops)
    return Table(
        columns=("method", *(NAMES[g] for g in groups), "tokens", unit, "speed"),
        rows=tuple(
            _by_budget(
                results,
                lambda row: (
                    *(interval(row.averages[g]) + mark(results.tests, row, g) for g in groups),
                    tokens(row),
                    scaled(row.tflops),
                    times(row.speedup),
                ),
            )
        ),
        note=_caption(results, unit),
    )


def scores_table(results: Results, names: Sequence[str]) -> Table:
    """Scores on each data set, with their share of the unpruned model's."""

    def cells(row: VariantResult) -> tuple[str, ...]:
        found = [row.scores[name] for name in names]
        return tuple(
            f"{each.score:.3f}" + (f" ({percent(each.relative.value, 1)})" if each.relative else "")
            for each in found
        )

    return Table(columns=("score", *names), rows=tuple(_by_budget(results, cells)))


def metrics_table(results: Results, name: str, most: int = 4) -> Table:
    """A data set's own metrics; those of single categories are in the document alone."""
    metrics = list(results.rows[0].scores[name].metrics)[:most]

    def cells(row: VariantResult) -> tuple[str, ...]:
        found = row.scores[name].metrics
        return tuple(_number(found[each]) if each in found else "–" for each in metrics)

    rows = tuple(_by_budget(results, cells)) if metrics else ()
    return Table(columns=(name, *metrics), rows=rows)


def tests_table(results: Results, groups: Sequence[str]) -> Table:
    """Differences to the reference method at the same budget, under a heading per budget."""
    rows: list[tuple[str, ...]] = []
    shown = [test for test in results.tests if test.group in groups]
    for budget, base in dict.fromkeys((test.budget, test.reference) for test in shown):
        rows.append((f"{budget}: against {base}",))
        rows += [
            (
                test.method,
                NAMES[test.group],
                signed(test.difference.value),
                f"{signed(test.difference.low)} to {signed(test.difference.high)}",
                p_text(test.p),
                p_text(test.p_holm),
            )
            for test in shown
            if test.budget == budget
        ]
    return Table(
        columns=("method", "on", "difference", "95 % interval", "p", "p (Holm)"),
        rows=tuple(rows),
        left=(0, 1),
        title="Paired tests",
        note="Signs of paired differences are flipped at random; p (Holm) is corrected over the "
        "methods of a budget.",
    )


def markdown(results: Results) -> str:
    """All tables, then how scores came about and how to make them again."""
    parts = [table.markdown() for table in tables(results)]
    lines = [markdown_text(f"{name}: {text}") for name, text in how(results).items()]
    parts.append("\n".join(f"- {line}" for line in lines))
    if note := ladder_note(results):
        parts.append(markdown_text(note))
    if results.command:
        parts.append(f"    {results.command}")
    return "\n\n".join(parts) + "\n"


def how(results: Results) -> dict[str, str]:
    """Data set -> its split and how its scores came about, or why there are none."""
    settings = results.settings
    said = {
        name: f"{settings.splits[name]}, {settings.protocol.get(name, '')}"
        for name in results.samples
    }
    return {n: f"left out: {why}" for n, why in results.left_out.items()} | said


def ladder_note(results: Results) -> str:
    """What each step of the ablation adds, where all of them are there; else empty."""
    if not set(LADDER) <= {row.label for row in results.rows}:
        return ""
    return "; ".join(f"{label}: {text}" for label, text in LADDER.items())


def shown_groups(results: Results) -> list[str]:
    """Groups of data sets that say something of their own."""
    groups = [name for name, sets in results.groups.items() if sets]
    return groups[:1] if len(groups) == 2 else groups


def budget_title(row: VariantResult, whole: int | None) -> str:
    """`Retain 192 tokens of 576`, as the budget was asked for, or the upper bound."""
    budget = row.budget
    if not budget:
        return f"Upper bound, {whole} tokens" if whole else "Upper bound, all tokens"
    if "FLOPs" in budget or budget == OWN_BUDGET:
        return budget
    if "of the tokens" in budget:
        return f"Retain {budget}" + (f" ({whole})" if whole else "")
    return f"Retain {budget}" + (f" of {whole}" if whole else "")


def interval(found: Estimate | None) -> str:
    """A relative score and its interval."""
    if found is None:
        return "–"
    ends = f" [{100 * found.low:.1f}, {100 * found.high:.1f}]" if found.low != found.high else ""
    return percent(found.value, 1) + ends


def tokens(row: VariantResult) -> str:
    """Retained tokens, with their range where samples differ."""
    found = row.retained
    text = f"{found.mean:.1f}"
    if found.most - found.least > 0.05:
        text += f" ({found.least:.0f} to {found.most:.0f})"
    return text


def p_text(p: float) -> str:
    """A p value, no more exact than it is."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def mark(tests: Sequence[PairedTest], row: VariantResult, group: str) -> str:
    """How a method compares with the reference: ` ▼` worse, ` ▲` better, empty within noise."""
    for test in tests:
        if (test.method, test.budget, test.group) == (row.label, row.budget, group):
            sure = test.p_holm < SIGNIFICANT
            return (" ▼" if test.difference.value < 0 else " ▲") if sure else ""
    return ""


def findings(results: Results) -> list[str]:
    """Per budget and group, in words: whom the tests tell apart from the reference.

    Where there are many budgets, the average over all sets alone.
    """
    found: dict[tuple[str, str], list[PairedTest]] = {}
    for test in results.tests:
        found.setdefault((test.budget, test.group), []).append(test)
    if len({budget for budget, _ in found}) > MANY:
        last = results.tests[-1].group
        found = {key: tests for key, tests in found.items() if key[1] == last}
    out = []
    for (budget, group), tests in found.items():
        reference = tests[0].reference
        sure = [t for t in tests if t.p_holm < SIGNIFICANT]
        named = (
            (f"worse than {reference}", [t.method for t in sure if t.difference.value < 0]),
            (f"better than {reference}", [t.method for t in sure if t.difference.value > 0]),
            ("not told apart from it", [t.method for t in tests if t not in sure]),
        )
        parts = [f"{word}: {', '.join(each)}" for word, each in named if each]
        for row in results.rows:
            if (row.budget, row.label) == (budget, reference) and (mean := row.averages[group]):
                kept = f"{reference} keeps {100 * mean.value:.1f} % of the unpruned score"
                parts.insert(0, kept)
        out.append(f"{budget}, {NAMES[group]}: {'; '.join(parts)}.")
    return out


def _by_budget(
    results: Results, cells: Callable[[VariantResult], tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """Rows under a heading per budget."""
    whole = results.settings.model.visual_tokens
    for budget in dict.fromkeys(row.budget for row in results.rows):
        mine = [row for row in results.rows if row.budget == budget]
        yield (budget_title(mine[0], whole),)
        for row in mine:
            yield (row.label, *cells(row))


def _number(value: float) -> str:
    return f"{value:.3f}" if value <= 1 else f"{value:.1f}".removesuffix(".0")


def _caption(results: Results, unit: str) -> str:
    settings = results.settings
    counts = sorted(set(results.samples.values()))
    number = " to ".join(str(c) for c in dict.fromkeys((counts[0], counts[-1])))
    against = ", ".join(dict.fromkeys(test.reference for test in results.tests))
    marks = (
        f"▼ worse, ▲ better than {against} at the same budget (paired test, p < 0.05 after Holm's "
        "correction). "
        if against
        else ""
    )
    return (
        f"{settings.model.name}, {number} samples a set (seed {settings.seed}), the same for all "
        "methods. Averages: score relative to vanilla, mean over the sets, with 95 % intervals of "
        f"a paired bootstrap. {marks}Tokens: visual tokens that really entered a layer, averaged "
        f"over all layers. {unit} of the prefill: {results.formula}. Speed: generate(), times as "
        f"fast as vanilla, in turns.{_failed(results)}"
    )


def _failed(results: Results) -> str:
    """What the rows of methods lack that failed where the unpruned model did not."""
    shown = {row.variant for row in results.rows}
    out = ""
    for variant, sets in results.failed.items():
        for name, each in sets.items():
            what = f"{variant.replace(' | ', ', ')} failed on {len(each)} samples of {name}"
            out += f" {what}" + (", which its row lacks." if variant in shown else ": no row.")
    return out
