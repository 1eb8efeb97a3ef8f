"""VQA accuracy: golden answers, the official tool's oddities, and where the tools differ."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from swiftprof.data.base import Sample
from swiftprof.data.registry import get_dataset
from swiftprof.data.scoring.exact import gqa_match
from swiftprof.data.scoring.vqa import (
    CONTRACTIONS,
    evalai_answer,
    old_vqa_accuracy,
    textvqa_accuracy,
    vqa_accuracy,
)


@pytest.mark.parametrize(
    ("matches", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_ten_people_agree_by_degrees(matches, accuracy):
    people = ["red"] * matches + [f"other {i}" for i in range(10 - matches)]
    assert vqa_accuracy("red", people) == pytest.approx(accuracy)
    assert textvqa_accuracy("red", people) == pytest.approx(accuracy)


@given(st.lists(st.sampled_from(["cat", "dog", "car"]), min_size=10, max_size=10))
def test_accuracy_is_the_mean_over_all_nines(people):
    for said in ("cat", "dog", "boat"):
        nines = [min(1.0, nine.count(said) / 3) for nine in combinations(people, 9)]
        assert vqa_accuracy(said, people) == pytest.approx(sum(nines) / len(nines))


@pytest.mark.parametrize(
    ("said", "compared"),
    [
        ("Red", "red"),
        ("  a   red  car\n", "red car"),
        ("The cat, and a dog", "cat and dog"),
        ("two", "2"),
        ("None", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("oclock", "o'clock"),
        ("t-shirt", "t shirt"),  # inside a word a mark becomes a space …
        ("t- shirt", "t shirt"),  # … at its edge it goes
        ("it's 5.", "it 's 5"),
        ("3.14", "3.14"),
        ("U.S.A.", "usa"),
        ("1,000", "1000"),
        ("what?", "what"),
    ],
)
def test_evalai_answers(said, compared):
    assert evalai_answer(said) == compared


def test_the_mistyped_full_stop_pattern_is_kept():
    people = ["5 th"] + ["5th"] * 9
    assert vqa_accuracy("5.th", people) == 1.0  # a look-behind would have spared the full stop
    assert vqa_accuracy("5th" + "." * 32, people) == 1.0
    assert vqa_accuracy("5th" + "." * 33, people) == 0.0  # only 32 of them are stripped


def test_a_comma_between_digits_removes_every_mark():
    people = ["x"] + ["1000 tshirt"] * 9
    assert vqa_accuracy("1,000 t-shirt", people) == 1.0
    assert vqa_accuracy("1000 t-shirt", people) == 0.0  # here the hyphen became a space


@pytest.mark.parametrize("said", ["t-shirt", "Paris", "two", "the dog", "none", "one way"])
def test_where_all_agree_neither_side_is_cleaned(said):
    assert vqa_accuracy(said, [said] * 10) == 1.0
    assert vqa_accuracy(said.upper() + ".", [said] * 10) == 1.0
    assert textvqa_accuracy(said, [said] * 10) == 1.0
    assert vqa_accuracy("a " + said, [said] * 10) == 0.0


@pytest.mark.parametrize(
    ("said", "people"),
    [
        ("two", ["two"] * 9 + ["2"]),
        ("2", ["two"] * 9 + ["2"]),
        ("the car", ["a car"] * 9 + ["car"]),
        ("t-shirt", ["t-shirt"] * 9 + ["shirt"]),
        ("No one!", ["no one"] * 9 + ["nobody"]),
    ],
)
def test_where_they_differ_both_sides_are_cleaned(said, people):
    assert vqa_accuracy(said, people) == 1.0


@pytest.mark.parametrize(
    ("said", "people", "now", "until_2021"),
    [
        ("t-shirt", ["t-shirt"] * 10, 1.0, 0.0),
        ("t-shirt", ["t-shirt"] * 9 + ["shirt"], 1.0, 1.0),
        ("two", ["two"] * 10, 1.0, 0.0),
        ("two", ["two"] * 9 + ["2"], 1.0, 0.3),  # "2" agrees with the one "2"
        ("the car", ["a car"] * 9 + ["car"], 1.0, 0.3),
        ("red", ["red"] * 8 + ["blue"] * 2, 1.0, 1.0),
        ("the red", ["red"] * 10, 0.0, 1.0),
    ],
)
def test_the_rule_until_2021_is_still_there(said, people, now, until_2021):
    assert vqa_accuracy(said, people) == pytest.approx(now)
    assert old_vqa_accuracy(said, people) == pytest.approx(until_2021)
    sample = Sample("0", Image.new("RGB", (8, 8)), "?", tuple(people))
    assert get_dataset("vqav2").score(said, sample) == pytest.approx(now)
    assert get_dataset("vqav2-old").score(said, sample) == pytest.approx(until_2021)


def test_references_are_not_changed():
    people = ["T-shirt", "a shirt"] * 5
    before = list(people)
    vqa_accuracy("shirt", people)
    textvqa_accuracy("shirt", people)
    assert people == before


def test_contractions_differ_from_their_words_by_one_apostrophe():
    assert len(CONTRACTIONS) == 114
    for short, whole in CONTRACTIONS.items():
        if short != "somebody'd":  # the official table has this one the wrong way round
            assert len(whole) == len(short) + 1
            assert whole.replace("'", "") == short.replace("'", "")
    assert CONTRACTIONS["somebody'd"] == "somebodyd"
    assert "im" not in CONTRACTIONS  # "Im" is in the table, and no lower-cased word finds it


@given(st.text(max_size=40))
def test_nothing_a_model_says_breaks_a_scorer(said):
    people = ["red", "blue", *["green"] * 8]
    assert 0 <= vqa_accuracy(said, people) <= 1
    assert 0 <= textvqa_accuracy(said, people) <= 1
    assert gqa_match(said, "red") in (0.0, 1.0)


def official_gqa(said, answer):
    return float(said == answer)


def llava_gqa(said, answer):
    return official_gqa(re.sub(r"\.+$", "", said).lower(), answer)


@pytest.mark.parametrize(
    ("said", "answer", "ours", "llava", "official"),
    [
        ("yes", "yes", 1, 1, 1),
        ("Yes.", "yes", 1, 1, 0),
        ("Yes!", "yes", 1, 0, 0),
        ("t-shirt", "t-shirt", 1, 1, 1),
        ("tshirt", "t-shirt", 1, 0, 0),
        ("no", "yes", 0, 0, 0),
        ("", "yes", 0, 0, 0),
    ],
)
def test_gqa_and_where_the_tools_differ(said, answer, ours, llava, official):
    assert gqa_match(said, answer) == ours
    assert llava_gqa(said, answer) == llava
    assert official_gqa(said, answer) == official
