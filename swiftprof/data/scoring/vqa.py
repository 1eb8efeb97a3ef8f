"""VQA accuracy: agreement of a short answer with ten people's.

Source: GT-Vision-Lab/VQA, ``PythonEvaluationTools/vqaEvaluation/vqaEval.py`` (the official tool of
VQAv2; its present rule is quoted in issue 14 there, its old one is that of c4e6a0e), and the EvalAI
answer processor of facebookresearch/mmf (TextVQA's). Their oddities are theirs and are kept,
because published numbers contain them:

- the full stop is stripped by a pattern whose look-behind is mistyped, so any that no digit follows
  goes, and at most 32 of them (a flag sits where the count belongs);
- the official tool cleans neither side where the ten references are all equal. We still overlook
  letter case and full stops at the end there, as models write "Yes" and "Yes.", and LLaVA and
  lmms-eval clean predictions before the tool gets them;
- until 2021 the tool always cleaned the prediction, the punctuation of references only where they
  differ, and their numbers and articles never;
- ``'somebody'd'`` loses its apostrophe where all other contractions gain one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA = re.compile(r"\d,\d")
_COMMAS = re.compile(r"(?<=\d),+(?=\d)")
_FULL_STOP = re.compile(r"(?!<=\d)(\.)(?!\d)")
_FULL_STOPS_AT_MOST = 32
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_DIGITS)}
_ARTICLES = {"a", "an", "the"}
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i, c in enumerate(word) if c == "'"]


CONTRACTIONS = {
    missing: word for word in _CONTRACTIONS.split() for missing in _without_one_apostrophe(word)
} | {"somebody'd": "somebodyd"}
"""A contraction with one apostrophe missing → the whole one."""


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Official VQAv2 accuracy against the references, which are ten.

    The mean, over the ten ways to leave one reference out, of min(1, matches among the rest / 3).
    """
    clean = _official if len(set(answers)) > 1 else _as_it_stands
    return _agreement(clean(prediction), [clean(answer) for answer in answers])


def old_vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """The same by the tool's rule until 2021, for numbers published with it."""
    said = _official(prediction)
    if len(set(answers)) > 1:
        answers = [_punctuation(answer, _COMMA) for answer in answers]
    return _agreement(said, answers)


def textvqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """TextVQA's accuracy: the same rule, after EvalAI's processor on both sides."""
    return _agreement(evalai_answer(prediction), [evalai_answer(a) for a in answers])


def evalai_answer(text: str) -> str:
    """An answer as EvalAI compares it."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _digits_and_articles(_punctuation(_one_line(text), _COMMAS))


def _agreement(said: str, answers: Sequence[str]) -> float:
    matches = [answer == said for answer in answers]
    total = sum(matches)
    left_out = [min(1.0, (total - match) / 3) for match in matches]
    return sum(left_out) / len(left_out)


def _official(text: str) -> str:
    return _digits_and_articles(_punctuation(_one_line(text), _COMMA))


def _as_it_stands(text: str) -> str:
    return _one_line(text).lower().rstrip(".").rstrip()


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _punctuation(text: str, comma: re.Pattern[str]) -> str:
    """Marks at the edge of a word go; inside a word they become a space.

    One comma between digits anywhere makes every mark go.
    """
    out = text
    between_digits = comma.search(text) is not None
    for mark in _PUNCTUATION:
        at_edge = mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if at_edge or between_digits else " ")
    return _FULL_STOP.sub("", out, count=_FULL_STOPS_AT_MOST)


def _digits_and_articles(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
