"""Multiple choice: which option did the model mean?

Sources: LLaVA ``llava/eval/eval_science_qa.py``; the rules of MMBench's own evaluation
(``can_infer_option``, then ``can_infer_text``) as lmms-eval ``tasks/mmbench/mmbench_evals.py`` has
them. What the rules cannot read counts as wrong: no judge model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from swiftprof.data.base import Scored

LETTERS = "ABCDE"
_STATED = re.compile(r"The answer is ([A-E])")
_WRAPS = (
    *(("", after) for after in (".", ",", ":", ")", ").")),
    *(("(", after) for after in (")", ").")),
    *((":", after) for after in ("", ",", ".", ")", ").")),
)


def scienceqa_letter(text: str, choices: int) -> str | None:
    """The option that an answer names: the letter alone, ``B. …``, or ``The answer is B``.

    LLaVA's rule. lmms-eval's, in comparison, takes ``B.`` with nothing behind it, and not
    ``The answer is B``.
    """
    text = text.replace("\n", ". ")
    letter: str | None = None
    if text.strip() in tuple(LETTERS):
        letter = text.strip()
    elif len(text) >= 3 and text[0] in LETTERS and text[1:3] == ". ":
        letter = text[0]
    elif (stated := _STATED.search(text)) is not None:
        letter = stated.group(1)
    return letter if letter is not None and LETTERS.index(letter) < choices else None


def mmbench_letter(text: str, choices: Sequence[str]) -> str | None:
    """The option that an answer names by its letter, else the only one whose text it holds."""
    return _by_letter(text) or _by_text(text, choices)


def circular_metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """MMBench's CircularEval: a question is right only where all rotations of its options are.

    ``accuracy`` in the sense of the mean over all rows is the set's plain score.
    """
    questions: dict[str, list[float]] = {}
    for each in scored:
        questions.setdefault(each.group, []).append(each.score)
    if not questions:
        return {}
    right = [all(s == 1 for s in scores) for scores in questions.values()]
    return {"circular": sum(right) / len(right), "questions": float(len(right))}


def _by_letter(text: str) -> str | None:
    words = text.split()
    for before, after in (("", ""), *_WRAPS):
        named = [letter for letter in LETTERS if before + letter + after in words]
        if len(named) != 1:
            continue
        if not before + after and "A" in words and len(words) > 3:
            continue  # "A" may be the article
        return named[0]
    return None


def _by_text(text: str, choices: Sequence[str]) -> str | None:
    lowered = text.lower()
    held = [
        letter for letter, each in zip(LETTERS, choices, strict=False) if each.lower() in lowered
    ]
    return held[0] if len(held) == 1 else None
