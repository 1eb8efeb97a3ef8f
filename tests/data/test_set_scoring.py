"""MME, POPE, ScienceQA, MMBench: golden answers, and where lmms-eval and official tools differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from swiftprof.data.base import Sample, Scored
from swiftprof.data.registry import get_dataset
from swiftprof.data.scoring.choices import circular_metrics, llava_letter, option_letter
from swiftprof.data.scoring.yes_no import (
    COGNITION,
    PERCEPTION,
    mme_answer,
    mme_metrics,
    pope_answer,
    pope_metrics,
)


def scored(kind, group, right, answer="yes", said="yes"):
    return Scored(kind, group, (answer,), said, float(right))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("No, there is none", "no"),
        ("Y", "yes"),
        ("n", "no"),
        ("x", "other"),
        ("not", "no"),
        ("I say yes", "other"),  # only the beginning counts
        ("know", "other"),
        ("Now yes", "other"),
        ("**Yes**", "yes"),
        ("N. America", "other"),
        ("", "other"),
    ],
)
def test_mme_answers(said, meant):
    assert mme_answer(said) == meant


def test_mme_scores_questions_and_whole_pairs():
    pairs = [(1, 1), (1, 0), (0, 0), (1, 1)]
    rows = [scored("OCR", str(g), hit) for g, pair in enumerate(pairs) for hit in pair]
    got = mme_metrics(rows)
    assert got["acc"] == pytest.approx(5 / 8)
    assert got["acc+"] == pytest.approx(2 / 4)
    assert got["mme OCR"] == pytest.approx(100 * 5 / 8 + 100 * 2 / 4)
    assert "perception" not in got  # nine categories are missing


def test_mme_totals_need_every_category_and_are_sums():
    rows = [
        scored(category, f"{category}/1", hit)
        for n, category in enumerate((*PERCEPTION, *COGNITION))
        for hit in ((1, 1) if n % 2 else (1, 0))
    ]
    got = mme_metrics(rows)
    assert got["perception"] == pytest.approx(5 * 200 + 5 * 50)
    assert got["cognition"] == pytest.approx(2 * 200 + 2 * 50)
    assert mme_metrics([scored(c, "1", 1) for c in PERCEPTION for _ in "ab"])["perception"] == 2000


def test_mme_leaves_a_broken_pair_out():
    got = mme_metrics([scored("OCR", "1", 1), scored("OCR", "2", 1), scored("OCR", "2", 1)])
    assert got["incomplete_pairs"] == 1
    assert got["mme OCR"] == 200


@pytest.mark.parametrize(
    ("said", "ours", "lmms"),
    [
        ("yes", "yes", "yes"),
        ("No", "no", "no"),
        ("Yes, there is.", "yes", None),  # lmms-eval wants the bare word
        ("There is not", "no", None),
        ("No. Yes.", "no", None),  # the first sentence decides
        ("Yes. Not that one.", "yes", None),
        ("There is a zebra.", "yes", None),  # LLaVA's rule: a sentence that does not deny, affirms
        ("banana", "other", None),  # LLaVA's rule says yes; it is no sentence
        ("know", "other", None),
        ("Now yes", "other", None),
        ("NO", "no", "no"),  # LLaVA's rule knows "no" and "No" only
        ("", "other", None),
    ],
)
def test_pope_answers_and_where_the_tools_differ(said, ours, lmms):
    assert pope_answer(said) == ours
    exact = said.lower().strip()  # how lmms-eval judges
    assert (exact if exact in ("yes", "no") else None) == lmms


def test_pope_f1_per_subset_and_yes_ratio_of_the_predictions():
    rows = []
    # (true, said): 6 x yes/yes, 2 x no/yes, 1 x yes/no, 3 x no/no in one subset
    for answer, said, n in (("yes", "yes", 6), ("no", "Yes", 2), ("yes", "no", 1), ("no", "no", 3)):
        rows += [scored("random", "", answer == said.lower(), answer, said)] * n
    rows += [scored("popular", "", answer == "no", answer, "no") for answer in ("yes", "no")]
    got = pope_metrics(rows)
    precision, recall = 6 / 8, 6 / 7
    f1 = 2 * precision * recall / (precision + recall)
    assert got["random f1"] == pytest.approx(f1)
    assert got["random accuracy"] == pytest.approx(9 / 12)
    assert got["random yes_ratio"] == pytest.approx(8 / 12)  # of the references it is 7 / 12
    assert got["popular f1"] == 0
    assert got["popular yes_ratio"] == 0
    assert got["f1"] == pytest.approx(f1 / 2)
    assert got["accuracy"] == pytest.approx((9 / 12 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("said", "llava", "usual"),
    [
        ("B", "B", "B"),
        ("B. the blue one", "B", "B"),
        ("The answer is B.", "B", "B"),
        ("The answer is B", None, "B"),  # LLaVA's rule wants a character behind it
        ("The answer is B. The answer is B.", None, "B"),  # and the sentence once
        ("B\n\ncat", None, "B"),
        ("B.", None, "B"),
        (" B\n", None, "B"),
        ("(B)", None, "B"),
        ("Answer: B", None, "B"),
        ("Answer:B", None, "B"),
        ("B) cat", None, "B"),
        ("**B**", None, "B"),
        ("[B]", None, "B"),
        ("b", None, "B"),
        ("The answer is A", None, "A"),
        ("A is right", None, "A"),
        ("The correct option is (A).", None, "A"),
        ("The answer is A. No, the answer is B.", "A", None),
        ("C", None, None),  # there are two options
        ("a red thing or the blue one", None, "B"),
        ("A blue thing, I am sure", None, None),  # an article
        ("", None, None),
    ],
)
def test_letters_by_llavas_rule_and_in_any_usual_form(said, llava, usual):
    assert llava_letter(said, 2) == llava
    assert option_letter(said, ("the red one", "the blue one")) == usual


def test_scienceqa_reads_llavas_answers_by_llavas_rule():
    dataset = get_dataset("scienceqa")
    sample = Sample("0", Image.new("RGB", (8, 8)), "?", ("B",), choices=("x", "y"))
    for style, score in (("llava", 0.0), ("llava-eval", 0.0), ("qwen2.5", 1.0), ("lmms", 1.0)):
        assert dataset.score("(B)", replace(sample, style=style)) == score


OPTIONS = ("a red box", "a zebra", "a boat")


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("A zebra stands there, I think", "B"),  # here A is an article, and the text decides
        ("A or B", None),
        ("it is a zebra", "B"),
        ("A ZEBRA", "A"),  # three words: A is still taken for the letter
        ("a zebra on a boat", None),
        ("E", None),
        ("none of them", None),
        ("**B**", "B"),
        ("[B]", "B"),
        ("Answer:B", "B"),
        ("The answer is A", "A"),
    ],
)
def test_mmbench_letters(said, letter):
    assert option_letter(said, OPTIONS) == letter


def test_circular_wants_every_rotation():
    rows = [
        scored("", group, hit)
        for group, hits in {"1": (1, 1, 1), "2": (1, 0)}.items()
        for hit in hits
    ]
    assert circular_metrics(rows) == {"circular": 0.5, "questions": 2}
    assert circular_metrics([]) == {}


@given(st.text(max_size=60))
def test_nothing_a_model_says_breaks_a_scorer(said):
    assert mme_answer(said) in ("yes", "no", "other")
    assert pope_answer(said) in ("yes", "no", "other")
    assert llava_letter(said, 4) in (None, *"ABCD")
    assert option_letter(said, OPTIONS) in (None, *"ABC")
