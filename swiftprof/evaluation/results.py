"""``results.json``: scores, averages, costs and tests of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from swiftprof.costs.flops import FORMULA
from swiftprof.data.asking import Skipped
from swiftprof.data.base import Dataset, Scored
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import VANILLA, Answer
from swiftprof.evaluation.settings import EvalSettings, VariantSettings
from swiftprof.evaluation.statistics import Estimate, Floats, Scores, compare_paired, estimate, holm
from swiftprof.evaluation.store import Answers, read_answers
from swiftprof.files import read_json_object, validated
from swiftprof.runs.folder import MAX_BYTES, Index, Run

SCHEMA = "swiftprof.eval/1"
GROUPS = ("localization", "non_localization", "overall")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class SetScore(_Frozen):
    """One variant on one data set.

    Attributes:
        score: mean over the samples.
        relative: the same as a share of the unpruned model's.
        metrics: metrics of the whole set, beside the mean score.
        retained, tflops: mean over the samples.
    """

    score: float
    relative: Estimate | None = None
    metrics: dict[str, float] = {}
    retained: float = 0.0
    tflops: float = 0.0


class Retained(_Frozen):
    """Visual tokens that entered a layer, averaged over layers; over all samples."""

    mean: float
    least: float
    most: float
    share: float


class VariantResult(_Frozen):
    """One variant on all data sets.

    Attributes:
        averages: group of data sets -> mean of relative scores; None where there is none.
        tflops: of the prefill, mean over all samples.
        seconds: wall time of all ``generate`` calls.
        speedup: how many times as fast as the unpruned model they were; above 1 is faster.
    """

    variant: str
    label: str
    budget: str = ""
    pruning_layers: tuple[int, ...] = ()
    scores: dict[str, SetScore]
    averages: dict[str, Estimate | None]
    retained: Retained
    tflops: float
    seconds: float
    speedup: float | None = None


class PairedTest(_Frozen):
    """A method against the reference at the same budget (see `statistics.compare_paired`).

    Attributes:
        p, p_holm: of the test, and corrected over the methods of the budget.
    """

    budget: str
    method: str
    reference: str
    group: str
    difference: Estimate
    p: float
    p_holm: float


class Results(_Frozen):
    """The document of ``results.json``.

    Attributes:
        draw: the samples, as indices of their splits.
        groups: name -> data sets whose scores are averaged.
        samples: data set -> samples that the unpruned model answered.
        skipped: data set -> samples that it could not answer, and why; they count for no method.
        failed: variant -> data set -> samples that it alone could not answer. Its row and its tests
            are of the others; one that answered nothing of a set has no row.
        left_out: data sets that are in no average, and why.
        rows: vanilla first.
    """

    schema_: str = Field(SCHEMA, alias="schema")
    settings: EvalSettings
    draw: dict[str, list[Index]] = {}
    groups: dict[str, tuple[str, ...]]
    samples: dict[str, int]
    skipped: dict[str, tuple[Skipped, ...]] = {}
    failed: dict[str, dict[str, tuple[Skipped, ...]]] = {}
    left_out: dict[str, str] = {}
    formula: str = FORMULA
    rows: tuple[VariantResult, ...]
    tests: tuple[PairedTest, ...] = ()
    command: str = ""
    versions: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read `results.json`, or that of a folder, which may come from anyone.

        Raises:
            SwiftprofError: missing, not an evaluation, or damaged.
        """
        file = path / "results.json" if path.is_dir() else path
        document = read_json_object(file, "evaluation", MAX_BYTES)
        schema = document.get("schema")
        if schema != SCHEMA:
            raise SwiftprofError(
                f"{file}: schema is {str(schema)[:60]!r}, so this is no evaluation; swiftprof eval "
                "makes one"
            )
        return validated(cls, document, file, "evaluate again")

    @model_validator(mode="after")
    def _rows_are_whole(self) -> Results:
        names = set(self.samples)
        if not self.rows or names != set(self.settings.datasets) or not names:
            raise ValueError("rows and samples: must be of the data sets of settings")
        for row in self.rows:
            if set(row.scores) != names or set(row.averages) != set(self.groups):
                raise ValueError(f"rows: {row.label[:80]} lacks data sets or groups")
        if set(self.groups) != set(GROUPS) or not {t.group for t in self.tests} <= set(GROUPS):
            raise ValueError(f"groups: must be {', '.join(GROUPS)}")
        return self


def summarise(
    run: Run[EvalSettings],
    datasets: Sequence[Dataset],
    folder: Path,
    reference: str | None,
    command: str,
    versions: Mapping[str, str],
) -> tuple[Results, Answers]:
    """What a folder's parts say: everything that tables and reports show, and the answers.

    A data set of which nothing was answered is left out.

    Args:
        reference: label of the method that the others are compared with at each budget; SwiftVLM
            where it is there, else the first.

    Raises:
        SwiftprofError: no data set is left, or a part is missing or damaged.
    """
    answers: dict[str, dict[str, list[Answer]]] = {v.name: {} for v in run.settings.variants}
    failed: dict[str, dict[str, tuple[Skipped, ...]]] = {}
    left_out: dict[str, str] = {}
    for name in run.settings.datasets:
        found, lost = read_answers(folder, run, name)
        for variant, skipped in lost.items():
            if skipped:
                failed.setdefault(variant, {})[name] = tuple(skipped)
        if not found[VANILLA]:
            first, size = lost[VANILLA][0].reason, len(run.draw[name])
            left_out[name] = f"none of {size} samples can be used; the first: {first}"
            continue
        if not any(a.score > 0 for a in found[VANILLA]):
            left_out[name] = "the unpruned model scores 0 on it, so it is in no average"
        for variant, mine in found.items():
            answers[variant][name] = mine
    names = list(answers[VANILLA])
    if not names:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise SwiftprofError(f"nothing was answered: data set {why}")
    used = [d for d in datasets if d.name in names]
    boxes, others = (
        tuple(d.name for d in used if d.localization == boxed and d.name not in left_out)
        for boxed in (True, False)
    )
    groups = dict(zip(GROUPS, (boxes, others, boxes + others), strict=True))
    settings, scores = run.settings.only(names), scores_of(answers)
    variants = [v for v in settings.variants if all(answers[v.name][name] for name in names)]
    results = Results(
        schema=SCHEMA,
        settings=settings,
        draw={name: run.draw[name] for name in names},
        groups=groups,
        samples={name: len(each) for name, each in answers[VANILLA].items()},
        skipped=failed.pop(VANILLA, {}),
        failed=failed,
        left_out=left_out,
        rows=tuple(_row(v, used, answers, scores, groups) for v in variants),
        tests=tuple(_tests(variants, scores, groups, reference)),
        command=command,
        versions=dict(versions),
    )
    return results, answers


def scores_of(answers: Answers) -> dict[str, Scores]:
    """Variant -> data set -> scores of the samples that the unpruned model answered."""
    out: dict[str, Scores] = {}
    for variant, sets in answers.items():
        mine = {name: {a.place: a.score for a in found} for name, found in sets.items()}
        out[variant] = {
            name: np.array([mine[name].get(a.place, np.nan) for a in found])
            for name, found in answers[VANILLA].items()
        }
    return out


def _row(
    variant: VariantSettings,
    datasets: Sequence[Dataset],
    answers: Answers,
    scores: Mapping[str, Scores],
    groups: Mapping[str, Sequence[str]],
) -> VariantResult:
    said, mine, vanilla = answers[variant.name], scores[variant.name], scores[VANILLA]
    every = [a for found in said.values() for a in found]
    retained = [a.retained for a in every]
    took, plain = (
        {(name, a.place): a.seconds for name, found in each.items() for a in found}
        for each in (said, answers[VANILLA])
    )
    seconds = sum(took.values())
    return VariantResult(
        variant=variant.name,
        label=variant.label,
        budget=variant.budget,
        pruning_layers=tuple(s["layer"] for s in variant.plan["stages"]) if variant.plan else (),
        scores={d.name: _set_score(d, said[d.name], mine[d.name], vanilla) for d in datasets},
        averages={
            name: estimate({s: mine[s] for s in sets}, vanilla) for name, sets in groups.items()
        },
        retained=Retained(
            mean=float(np.mean(retained)),
            least=min(retained),
            most=max(retained),
            share=float(np.mean([a.retained / a.n_visual for a in every if a.n_visual] or [1.0])),
        ),
        tflops=float(np.mean([a.tflops for a in every])),
        seconds=seconds,
        speedup=sum(plain.get(each, 0.0) for each in took) / seconds if seconds else None,
    )


def _set_score(
    dataset: Dataset, answers: Sequence[Answer], scores: Floats, vanilla: Scores
) -> SetScore:
    scored = [Scored(a.kind, a.group, a.answers, a.prediction, a.score) for a in answers]
    return SetScore(
        score=float(np.nanmean(scores)),
        relative=estimate({dataset.name: scores}, vanilla),
        metrics=dataset.metrics(scored),
        retained=float(np.mean([a.retained for a in answers])),
        tflops=float(np.mean([a.tflops for a in answers])),
    )


def _tests(
    variants: Sequence[VariantSettings],
    scores: Mapping[str, Scores],
    groups: Mapping[str, Sequence[str]],
    reference: str | None,
) -> list[PairedTest]:
    """Every method against the reference at the same budget, corrected over the methods."""
    tests: list[PairedTest] = []
    for budget in dict.fromkeys(v.budget for v in variants if v.budget):
        mine = [v for v in variants if v.budget == budget]
        labels = [v.label for v in mine]
        base = reference or "swiftvlm"
        against = mine[labels.index(base)] if base in labels else mine[0]
        for group, sets in groups.items():
            found = []
            for other in (v for v in mine if v is not against):
                a, b = ({s: scores[v.name][s] for s in sets} for v in (other, against))
                compared = compare_paired(a, b, scores[VANILLA])
                if compared is not None:
                    found.append((other, compared))
            corrected = holm([compared.p for _, compared in found])
            tests += [
                PairedTest(
                    budget=budget,
                    method=other.label,
                    reference=against.label,
                    group=group,
                    **vars(compared),
                    p_holm=p,
                )
                for (other, compared), p in zip(found, corrected, strict=True)
            ]
    return tests
