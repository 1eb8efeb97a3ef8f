"""What own data ask for, boxes, choices or answers, and how that is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftprof.data.own.naming import OwnName, options_in
from swiftprof.data.own.values import BOX_FORMATS, numbers_of
from swiftprof.data.scoring.exact import exact_match, gqa_match
from swiftprof.data.scoring.vqa import old_vqa_accuracy, textvqa_accuracy, vqa_accuracy
from swiftprof.errors import BadSample, SwiftprofError, did_you_mean

BOXES, CHOICE = "acc@0.5", "choice"
METRICS: Mapping[str, Callable[[str, tuple[str, ...]], float]] = {
    "exact": exact_match,
    "gqa": lambda said, answers: max(gqa_match(said, a) for a in answers),
    "vqa": vqa_accuracy,
    "vqa-old": old_vqa_accuracy,
    "textvqa": textvqa_accuracy,
}
"""Metrics of answers; boxes have ACC@0.5, and multiple choice the share of right letters."""
MIN_VQA_ANSWERS = 4
"""VQA accuracy leaves one reference out and wants three matches among the rest."""
TRIED = 200
"""Rows that are looked at for what the data are."""
MOST_TOKENS = 4096
_LABELS = {BOXES: "ACC@0.5", CHOICE: "accuracy of letters"}


@dataclass(frozen=True)
class Task:
    """How rows are asked and scored.

    Attributes:
        metric: `BOXES`, `CHOICE` or one of `METRICS`.
        box_format: see `values.BOX_FORMATS`.
        max_new_tokens: longest answer.
    """

    metric: str
    box_format: str
    max_new_tokens: int

    @property
    def label(self) -> str:
        """The metric in protocols."""
        unit = "accuracy" if "vqa" in self.metric else "match"
        return _LABELS.get(self.metric, f"{self.metric} {unit}")

    def check_answers(self, answers: Sequence[str]) -> None:
        """Raises BadSample where the metric needs more of them."""
        if "vqa" in self.metric and len(answers) < MIN_VQA_ANSWERS:
            raise BadSample(
                f"{len(answers)} answers, but metric {self.metric} compares with at least "
                f"{MIN_VQA_ANSWERS} (ten are usual)"
            )


def task_of(rows: Sequence[Mapping[str, Any]], own: OwnName) -> Task:
    """The task of rows (role → value) that begin the data; the first decides.

    Raises:
        SwiftprofError: no rows, settings that do not exist, boxes that cannot be meant.
    """
    place, said = own.place, own.settings
    if not rows:
        raise SwiftprofError(f"{place}: none of its first {TRIED} rows can be read")
    first = rows[0]
    boxes, multiple = first.get("box") is not None, options_in(first) is not None
    default = BOXES if boxes else CHOICE if multiple else "exact"
    metric = str(said.get("metric") or first.get("metric") or default)[:40].lower()
    known = (default,) if default != "exact" else tuple(METRICS)
    if metric not in known:
        raise SwiftprofError(f"{place}: metric {metric!r}: {did_you_mean(metric, known)}")
    form = said.get("box_format", BOX_FORMATS[0])
    if form not in BOX_FORMATS:
        hint = did_you_mean(form[:40], BOX_FORMATS)
        raise SwiftprofError(f"{place}: box_format {form[:40]!r}: {hint}")
    if boxes:
        _check_boxes([row.get("box") for row in rows], form, place)
    tokens = said.get("max_new_tokens", "100" if boxes or multiple else "32")
    if not (tokens.isascii() and tokens.isdigit() and 0 < int(tokens[:9]) <= MOST_TOKENS):
        raise SwiftprofError(f"{place}: max_new_tokens {tokens[:40]}: must be 1 to {MOST_TOKENS}")
    return Task(metric, form, int(tokens))


def _check_boxes(values: Sequence[Any], form: str, place: str) -> None:
    """Refuse boxes that cannot be meant as the format says. Raises SwiftprofError."""
    boxes = []
    for value in values:
        try:
            boxes.append(numbers_of(value))
        except BadSample:
            continue
    if not boxes:
        return
    if "-" not in form and all(max(box) <= 1 for box in boxes):
        raise SwiftprofError(
            f"{place}: all its boxes lie within one pixel, as {list(boxes[0])}; if they are parts "
            f"of the image, say box_format={form}-1"
        )
    if form.startswith("xyxy") and not any(b[2] > b[0] and b[3] > b[1] for b in boxes):
        raise SwiftprofError(
            f"{place}: no box ends right of and below where it begins, as {list(boxes[0])}; if "
            f"they are corner and size, say box_format={form.replace('xyxy', 'xywh')}"
        )
