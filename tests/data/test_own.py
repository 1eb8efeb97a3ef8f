"""A user's own .jsonl and .parquet files: schema, paths that must not escape, broken rows."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swiftprof.data.asking import ask, ask_all
from swiftprof.data.registry import get_dataset, get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.models.conventions import Conventions


class Llava:
    conventions = Conventions(image_fit="pad")

    def seen_size(self, width, height):
        return width, height


@pytest.fixture
def folder(repositories, tmp_path):
    images = tmp_path / "mine" / "images"
    images.mkdir(parents=True)
    for i in range(3):
        repositories.picture(i).save(images / f"{i}.png")
    return images.parent


def lines(folder, *rows, name="mine.jsonl"):
    path = folder / name
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n")
    return path


def row(**changes):
    return {
        "image": "images/0.png",
        "question": "What is red?",
        "answers": ["box", "a box"],
    } | changes


def test_questions_with_answers(folder):
    path = lines(folder, row(), row(answers="rectangle", kind="shape", id="x7"), row(answers=[3]))
    dataset = get_dataset(str(path))
    assert (dataset.name, dataset.size("all"), dataset.localization) == ("mine", 3, False)
    first, second, third = (ask(dataset, dataset.sample("all", i), Llava()) for i in range(3))
    assert first.question == "What is red?"
    assert dataset.score("A box.", first) == 1.0
    assert dataset.score("ball", first) == 0.0
    assert (second.kind, second.id) == ("shape", "000001-x7")
    assert dataset.score("Rectangle", second) == 1.0
    assert dataset.score("3", third) == 1.0
    assert "questions as they stand" in dataset.protocol(Llava.conventions)


def test_expressions_with_boxes(folder):
    path = lines(folder, row(answers=None, box=[8, 10, 41, 31], question="the box"))
    dataset = get_dataset(str(path))
    assert dataset.localization
    sample = ask(dataset, dataset.sample("all", 0), Llava())
    assert sample.question.endswith("this sentence describes: the box")
    assert sample.image.size == (64, 64)
    padded = [8 / 64, 18 / 64, 41 / 64, 39 / 64]
    assert dataset.score(str(padded), sample) == 1.0
    assert dataset.score("[0.8, 0.8, 0.9, 0.9]", sample) == 0.0


@pytest.mark.parametrize(
    ("metric", "answers", "said", "score"),
    [
        ("exact", ["two"], "2", 0.0),
        ("vqa", ["two"] * 2 + ["2"] * 8, "two", 1.0),
        ("textvqa", ["the stop"] * 10, "stop", 1.0),
        ("gqa", ["T-shirt", "x"], "tshirt", 1.0),
    ],
)
def test_metrics(folder, metric, answers, said, score):
    dataset = get_dataset(str(lines(folder, row(answers=answers, metric=metric))))
    assert dataset.score(said, dataset.sample("all", 0)) == score
    assert metric in dataset.metric


def test_parquet_with_bytes_and_with_paths(folder, repositories):
    rows = [
        {"image": repositories.cell(0), "question": "q", "answers": ["a"]},
        {"image": {"bytes": None, "path": "images/1.png"}, "question": "q", "answers": ["b"]},
    ]
    path = folder / "mine.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    samples, skipped = ask_all(get_dataset(str(path)), "all", range(2), Llava())
    assert not skipped
    assert [s.answers for s in samples] == [("a",), ("b",)]
    paths = [{"image": "images/2.png", "question": "q", "answer": "c"}]
    pq.write_table(pa.Table.from_pylist(paths), path)
    assert get_dataset(str(path)).sample("all", 0).answers == ("c",)


def reason_of(dataset):
    _, skipped = ask_all(dataset, "all", [1], Llava())
    return skipped[0].reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("not json", "line 2: not a line of JSON"),
        ("[1, 2]", "no JSON object"),
        (row(question=None), "question is None"),
        (row(question="<image>"), "no text beside <image>"),
        (row(question="\ud800"), "surrogate"),
        (row(answers=["a", "\udfff"]), "surrogate"),
        (row(id="\ud800"), "surrogate"),
        (row(answers=[]), "answers is []"),
        (row(answers=""), "answers is ''"),
        (row(answers=["a", ""]), "answers is ''"),
        (row(answers=float("nan")), "answers is nan"),
        (row(answers=[True]), 'write "yes" or "no"'),
        (row(answers=True), 'write "yes" or "no"'),
        (row(image=[]), "0 images"),
        (row(image="https://example.org/a.png"), "is a URL"),
        (row(image="data:image/png;base64,AAAA"), "not a PNG"),
        (row(answers=[None]), "no text"),
        (row(image=None), "no path"),
        (row(image="images/none.png"), "no such file"),
        (row(image="images"), "no such file"),
        (row(image="mine.jsonl"), "not a PNG"),
        (row(image="images/\ud800.png"), "UnicodeEncodeError"),
        (row(metric="vqa"), "began with 'exact'"),
        (row(image="../secret.png"), "lies outside"),
        (row(image="images/../../secret.png"), "lies outside"),
        (row(image="images/link.png"), "lies outside"),
        (row(image="images/0.png\0"), "no path"),
    ],
)
def test_broken_rows_are_skipped_with_their_line(folder, repositories, bad, reason):
    secret = folder.parent / "secret.png"
    repositories.picture(9).save(secret)
    os.symlink(secret, folder / "images" / "link.png")
    assert reason in reason_of(get_dataset(str(lines(folder, row(), bad))))


def test_absolute_paths_need_the_data_root(folder, repositories, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    repositories.picture(1).save(elsewhere / "far.png")
    path = lines(folder, row(), row(image=str(elsewhere / "far.png")))
    assert "`data_root`" in reason_of(get_dataset(str(path)))
    dataset = get_dataset(str(path), elsewhere)
    assert dataset.sample("all", 1).image.size == (64, 48)
    assert dataset.sample("all", 0).image.size == (64, 48)
    path = lines(folder, row(), row(image="far.png"))
    assert get_dataset(str(path), elsewhere).sample("all", 1).image.size == (64, 48)
    inside = lines(folder, row(), row(image=str(folder / "images" / "2.png")))
    assert get_dataset(str(inside)).sample("all", 1).image.size == (64, 48)


@pytest.mark.parametrize(
    "box",
    [[1, 2, 3], [9, 9, 1, 1], [0, 0, 900, 9], "x", [0, 0, 5, None], [0, 0, 5, 10**401], {"x": 1}],
)
def test_boxes_must_lie_on_the_image(folder, box):
    path = lines(folder, row(answers=None, box=[8, 10, 40, 30]), row(answers=None, box=box))
    assert "box" in reason_of(get_dataset(str(path)))


def test_vqa_needs_several_people(folder):
    path = lines(folder, row(metric="vqa", answers=["a"] * 10), row(metric="vqa", answers=["a"]))
    assert "at least 4" in reason_of(get_dataset(str(path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no rows"),
        ("nonsense", "none of its rows is a JSON object"),
        ('{"pixels": "a.png", "question": "q", "answers": "a"}', "no column for the image"),
        ('{"image": "a.png", "questions": "q", "answers": "a"}', "did you mean 'questions'"),
        ('{"image": "a.png", "question": "q", "anwsers": "a"}', "did you mean 'anwsers'"),
        ('{"image": "a", "question": "q", "answer": "a", "metric": "bleu"}', "metric 'bleu'"),
    ],
)
def test_unusable_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(SwiftprofError) as caught:
        get_dataset(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_files(folder, tmp_path):
    for name, message in (
        ("no.jsonl", "no such file"),
        ("mine", "is a folder without data"),
        ("x.csv", "no such file"),
        ("bin.jsonl", "UTF-8"),
        ("bad.parquet", "cannot read"),
        ("some.json", "0 lists of rows"),
        ("some.txt", "data come as"),
    ):
        (tmp_path / "bin.jsonl").write_bytes(b"\xff\xfe\x00")
        (tmp_path / "bad.parquet").write_bytes(b"PAR1")
        (tmp_path / "some.json").write_text("{}")
        (tmp_path / "some.txt").write_text("{}")
        with pytest.raises(SwiftprofError, match=message):
            get_dataset(f"{tmp_path}/{name}")
    one, two = lines(folder, row()), lines(tmp_path, row(image="mine/images/0.png"))
    with pytest.raises(SwiftprofError, match="would both be called 'mine'"):
        get_datasets([str(one), str(two)])
    assert len(get_datasets([str(one), str(one), "scenes-qa"])) == 2
    assert get_dataset(str(lines(folder, row(), name="a b/ü.jsonl".replace("/", "-")))).name


def test_the_record_changes_with_the_file(folder):
    before = get_dataset(str(lines(folder, row()))).source("all")
    after = get_dataset(str(lines(folder, row(question="Other?")))).source("all")
    assert before != after
    assert before.startswith("mine.jsonl sha256:")
