"""Multiple choice: which option did the model mean?

Sources: LLaVA ``llava/eval/eval_science_qa.py``; the rules of MMBench's own evaluation
(``can_infer_option``, then ``can_infer_text``) as lmms-eval ``tasks/mmbench/mmbench_evals.py`` and
VLMEvalKit have them. What the rules cannot read counts as wrong: no judge model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from swiftprof.data.base import Scored

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LLAVA_OPTIONS = "ABCDE"
_LLAVA_STATED = re.compile(r"The answer is ([A-Z]).")
_STATED = re.compile(r"\b(?:answer|option|choice)(?:\s+is)?\s*:?[\s*(\[\"']*([A-Z])\b(?!')", re.I)
_LEADING = re.compile(r"[\s*(\[\"'#]*([A-Z])(?=[*)\].,:;\"'\s]*$|[*)\].,:;\"']|\s*\n)")
_MARKS = str.maketrans(".()[],:;!*#{}", " " * 13)
_MANY_WORDS = 3
"""In an answer of more words, "A" may be the article."""


def llava_letter(text: str, choices: int) -> str | None:
    """The option that an answer names by LLaVA's rule for ScienceQA, to the character.

    The letter and nothing else, ``B. …``, or ``The answer is B.``, said once.
    """
    letter: str | None = None
    if text in tuple(_LLAVA_OPTIONS):
        letter = text
    elif len(text) >= 3 and text[0] in _LLAVA_OPTIONS and text[1:3] == ". ":
        letter = text[0]
    elif len(stated := _LLAVA_STATED.findall(text)) == 1:
        letter = stated[0]
    return letter if letter is not None and letter in LETTERS[:choices] else None


def option_letter(text: str, choices: Sequence[str]) -> str | None:
    """The option that an answer of any model names.

    In this order: what it states (``Answer: B``, ``The answer is B``), what it begins with (``B``,
    ``(B)``, ``B) cat``, ``**B**``), the only letter that stands alone in it, the only option whose
    text it holds.
    """
    letters = LETTERS[: len(choices)]
    if len(bare := text.translate(_MARKS).strip()) == 1:
        text = bare.upper()
    stated = {found for found in _STATED.findall(text) if found in letters}
    if stated:
        return stated.pop() if len(stated) == 1 else None
    leading = _LEADING.match(text)
    if leading is not None and leading[1] in letters:
        return leading[1]
    words = text.translate(_MARKS).split()
    alone = [letter for letter in letters if letter in words]
    if len(alone) == 1 and not (alone == ["A"] and len(words) > _MANY_WORDS):
        return alone[0]
    return _by_text(text, choices)


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


def _by_text(text: str, choices: Sequence[str]) -> str | None:
    lowered = text.lower()
    held = [
        letter for letter, each in zip(LETTERS, choices, strict=False) if each.lower() in lowered
    ]
    return held[0] if len(held) == 1 else None
