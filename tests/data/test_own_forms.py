"""Own data in the forms that people have them in, each from file to score."""

from __future__ import annotations

import base64
import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swiftprof.data.asking import ask, ask_all
from swiftprof.data.own.naming import is_own, with_columns
from swiftprof.data.registry import get_dataset
from swiftprof.errors import SwiftprofError
from swiftprof.models.conventions import Conventions


class Llava:
    conventions = Conventions(image_fit="pad")

    def seen_size(self, width, height):
        return width, height


@pytest.fixture
def folder(repositories, tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        repositories.picture(i).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


ROWS = [
    {"image": f"images/{i}.png", "question": f"What is {i}?", "answers": [word]}
    for i, word in enumerate(["box", "ball", "cat"])
]


def save(folder, name, rows=ROWS):
    """Rows in the form that the name's ending says."""
    path, kind = folder / name, name.removesuffix(".gz").rpartition(".")[2]
    text = json.dumps(rows)
    if kind == "jsonl":
        text = "\n".join(map(json.dumps, rows))
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            for row in rows:
                cells = {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
                writer.writerow(cells)
        text = path.read_text()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


def asked(name, data_root=None):
    dataset = get_dataset(str(name), data_root)
    (split, size), *_ = dataset.splits.items()
    samples, skipped = ask_all(dataset, split, range(size), Llava())
    return dataset, samples, [s.reason for s in skipped]


@pytest.mark.parametrize(
    "name",
    [
        f"mine.{kind}{packed}"
        for kind in ("jsonl", "json", "csv", "tsv", "parquet")
        for packed in ("", ".gz")
        if (kind, packed) != ("parquet", ".gz")
    ],
)
def test_files(folder, name):
    dataset, samples, skipped = asked(save(folder, name))
    assert not skipped
    assert dataset.name == "mine"
    assert [s.question for s in samples] == ["What is 0?", "What is 1?", "What is 2?"]
    assert [dataset.score(w, s) for w, s in zip(("Box", "ball.", "dog"), samples, strict=True)] == [
        1.0,
        1.0,
        0.0,
    ]


def test_a_json_object_with_one_list_of_rows(folder):
    path = folder / "mine.json"
    path.write_text(json.dumps({"info": {"year": 2024}, "licences": [], "data": ROWS}))
    assert len(asked(path)[1]) == 3


def test_llavas_conversations_have_a_sample_for_each_question(folder):
    chat = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A box"},
        {"from": "human", "value": "Its colour?"},
        {"from": "gpt", "value": "red"},
    ]
    rows = [
        {"id": "000", "image": "images/0.png", "conversations": chat},
        {"id": "001", "conversations": chat[:2]},
        {"id": "002", "image": "images/1.png", "conversations": chat[:2]},
        {"id": "003", "image": "images/1.png", "conversations": "none"},
    ]
    dataset, samples, skipped = asked(save(folder, "llava.json", rows))
    assert dataset.splits == {"all": 5}
    assert [s.question for s in samples] == ["What is it?", "Its colour?", "What is it?"]
    assert [s.answers for s in samples] == [("A box",), ("red",), ("A box",)]
    assert len({s.id for s in samples}) == 3
    assert len(skipped) == 2
    assert "item 2: image is None" in skipped[0]
    assert "no list of turns" in skipped[1]


def test_chats_in_the_form_of_chat_templates(folder):
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": "a box"}]
    _, samples, _ = asked(save(folder, "m.jsonl", [{"images": ["images/0.png"], "messages": chat}]))
    assert (samples[0].question, samples[0].answers) == ("What is it?", ("a box",))


def test_folders_of_save_to_disk(folder, repositories):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        image=datasets.Image(), question=datasets.Value("string"), answer=datasets.Value("string")
    )
    rows = [{"image": repositories.cell(i), "question": "q", "answer": str(i)} for i in range(5)]
    made = datasets.Dataset.from_list(rows, features=features)
    made.save_to_disk(folder / "flat", num_shards=2)
    datasets.DatasetDict(train=made, test=made.select([3, 1])).save_to_disk(folder / "split")
    dataset, samples, skipped = asked(folder / "flat")
    assert not skipped
    assert [s.answers for s in samples] == [(str(i),) for i in range(5)]
    assert dataset.name == "flat"
    both = get_dataset(str(folder / "split"))
    assert dict(both.splits) == {"test": 2, "train": 5}
    assert (both.train_split, both.eval_split) == ("train", "test")
    assert both.sample("test", 0).answers == ("3",)
    assert dict(get_dataset(f"{folder}/split?split=test").splits) == {"test": 2}
    with pytest.raises(SwiftprofError, match="no split 'val'"):
        get_dataset(f"{folder}/split?split=val")


def test_any_repository_of_the_hub_with_a_mapping(folder, repositories):
    rows = [{"pic": repositories.cell(i), "q": "What?", "a": f"{i}"} for i in range(4)]
    rows = [row | {"noise": "x"} for row in rows]
    (folder / "some-org" / "vqa" / "data").mkdir(parents=True)
    path = folder / "some-org" / "vqa" / "data" / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    name = "hub:some-org/vqa:validation"
    with pytest.raises(SwiftprofError, match="no column for the image"):
        get_dataset(name, folder)
    (mapped,) = with_columns([name], "question=q,answer=a,image=pic")
    dataset, samples, skipped = asked(mapped, folder)
    assert not skipped
    assert dict(dataset.splits) == {"validation": 4}
    assert dataset.name == "vqa-validation"
    assert [s.answers for s in samples] == [("0",), ("1",), ("2",), ("3",)]
    again = get_dataset(dataset.origin, folder)
    assert again.source("validation") == dataset.source("validation")
    with pytest.raises(SwiftprofError, match="hub:org/name:split"):
        get_dataset("hub:some-org/vqa", folder)


def test_columns_and_settings_in_the_name(folder):
    rows = [{"img": r["image"], "q": r["question"], "gold": r["answers"][0]} for r in ROWS]
    path = save(folder, "table.csv", rows)
    dataset, samples, _ = asked(f"{path}?image=img&question=q&answers=gold&max_new_tokens=5")
    assert [s.answers for s in samples] == [("box",), ("ball",), ("cat",)]
    assert dataset.max_new_tokens == 5
    assert asked(dataset.origin)[1] == samples
    for wrong, message in (
        ("questoin=q", "did you mean 'question'"),
        ("image=img&question=q&answers=g", "column 'g' is missing"),
        ("image=", "has no value"),
    ):
        with pytest.raises(SwiftprofError, match=message):
            get_dataset(f"{path}?{wrong}")


def test_columns_go_with_own_data_only():
    assert with_columns(["pope", "a.csv", "b.json?id=x"], "question=q, answer=a") == [
        "pope",
        "a.csv?question=q&answer=a",
        "b.json?id=x&question=q&answer=a",
    ]
    assert with_columns(["pope"], "") == ["pope"]
    for names, columns in ((["pope"], "question=q"), (["a.csv"], "question")):
        with pytest.raises(SwiftprofError, match="columns"):
            with_columns(names, columns)
    assert not is_own("my_package:Mine")
    assert is_own("data/folder")


def test_several_images_a_row_reach_the_model_in_order(folder, bundled):
    rows = [
        {
            "images": ["images/0.png", "images/1.png"],
            "question": "<image> or <image>?",
            "answer": "b",
        }
    ]
    dataset = get_dataset(save(folder, "two.jsonl", rows))
    sample = ask(dataset, dataset.sample("all", 0), bundled)
    assert sample.question == "or\n?"
    assert len(sample.images) == 2
    inputs = bundled.inputs([sample.images], [sample.question])
    assert int((inputs["input_ids"] == bundled.image_token_id).sum()) == 2 * bundled.visual_tokens


def test_images_as_data_urls_base64_and_bytes(folder, repositories):
    content = repositories.encoded(repositories.picture(1))
    text = base64.b64encode(content).decode()
    rows = [
        {"image": image, "question": "q", "answer": "a"}
        for image in (f"data:image/png;base64,{text}", text, "images/1.png")
    ]
    for name in ("m.jsonl", "m.tsv"):
        _, samples, skipped = asked(save(folder, name, rows))
        assert not skipped
        assert samples[0].images[0].tobytes() == samples[1].images[0].tobytes()
        assert samples[0].images[0].tobytes() == samples[2].images[0].tobytes()


@pytest.mark.parametrize("column", ["image", "images", "file_name"])
def test_usual_names_of_columns(folder, column):
    rows = [{column: "images/0.png", "prompt": "q", "label": "a"}]
    assert len(asked(save(folder, "m.jsonl", rows))[1]) == 1


SIZE = (64, 48)


@pytest.mark.parametrize(
    ("form", "box"),
    [
        ("xyxy", [8, 10, 40, 30]),
        ("xywh", [8, 10, 32, 20]),
        ("xyxy-1", [8 / 64, 10 / 48, 40 / 64, 30 / 48]),
        ("xywh-1", [8 / 64, 10 / 48, 32 / 64, 20 / 48]),
        ("xyxy-1000", [125, 208.333, 625, 625]),
        ("xywh-1000", [125, 208.333, 500, 416.667]),
    ],
)
@pytest.mark.parametrize("column", ["box", "bbox"])
def test_boxes_in_all_formats(folder, form, box, column):
    rows = [{"image": "images/0.png", "question": "it", column: box}]
    path = save(folder, "m.jsonl", rows)
    dataset, samples, skipped = asked(path if form == "xyxy" else f"{path}?box_format={form}")
    assert not skipped
    assert samples[0].box == pytest.approx((8, 10, 40, 30), abs=0.01)
    assert dataset.score(samples[0].frame.text(samples[0].box), samples[0]) == 1.0


@pytest.mark.parametrize(
    ("box", "said", "hint"),
    [
        ([0.1, 0.2, 0.5, 0.6], "", "box_format=xyxy-1"),
        ([0.6, 0.6, 0.3, 0.2], "?box_format=xywh", "box_format=xywh-1"),
        ([40, 30, 20, 10], "", "box_format=xywh"),
        ([8, 10, 40, 30], "?box_format=xyhw", "did you mean 'xywh'"),
    ],
)
def test_boxes_that_cannot_be_meant_are_refused(folder, box, said, hint):
    rows = [{"image": "images/0.png", "question": "it", "box": box}] * 3
    with pytest.raises(SwiftprofError, match=hint):
        get_dataset(save(folder, "m.jsonl", rows) + said)


@pytest.mark.parametrize("answer", [1, "1", "B", "(b)", "dog", 1.0, {"answer": "B"}])
@pytest.mark.parametrize("lettered", [False, True])
def test_multiple_choice(folder, answer, lettered):
    choices = {"A": "cat", "B": "dog"} if lettered else {"choices": ["cat", "dog"]}
    rows = [{"image": "images/0.png", "question": "Which?", "answer": answer} | choices]
    dataset, samples, skipped = asked(save(folder, "m.jsonl", rows))
    assert not skipped
    assert samples[0].answers == ("B",)
    assert samples[0].question == (
        "Which?\nA. cat\nB. dog\nAnswer with the option's letter from the given choices directly."
    )
    for said, score in (("B", 1.0), ("(B) dog", 1.0), ("The answer is A", 0.0), ("", 0.0)):
        assert dataset.score(said, samples[0]) == score


@pytest.mark.parametrize("answer", [2, -1, "C", True, None, "bird", 0.5])
def test_choices_without_the_answer_are_broken(folder, answer):
    good = {"image": "images/0.png", "question": "?", "choices": ["cat", "dog"], "answer": 0}
    _, samples, skipped = asked(save(folder, "m.jsonl", [good, good | {"answer": answer}]))
    assert (len(samples), len(skipped)) == (1, 1)
    assert "none of the 2 choices" in skipped[0]


def test_answers_as_objects_and_numbers(folder):
    rows = [
        {"image": "images/0.png", "question": "q", "answers": answers}
        for answers in ([{"answer": "a", "answer_id": 1}, {"answer": "b"}], 3, 3.0, 2.5, [7])
    ]
    _, samples, skipped = asked(save(folder, "m.jsonl", rows))
    assert not skipped
    assert [s.answers for s in samples] == [("a", "b"), ("3",), ("3",), ("2.5",), ("7",)]


def test_empty_cells_are_no_answers(folder):
    rows = [ROWS[0] | {"answers": "box"}, ROWS[1] | {"answers": ""}, ROWS[2] | {"answers": "nan"}]
    _, samples, skipped = asked(save(folder, "m.csv", rows))
    assert [s.answers for s in samples] == [("box",)]
    assert len(skipped) == 2
    assert "answers is None" in skipped[0]


@pytest.mark.parametrize("said", ["Paris", "two", "t-shirt", "the dog", "paris."])
def test_vqa_accuracy_of_unanimous_answers(folder, said):
    answer = said.strip(".").replace("paris", "Paris")
    dataset, samples, _ = asked(
        save(folder, "m.jsonl", [ROWS[0] | {"answers": [answer] * 10, "metric": "vqa"}])
    )
    assert dataset.score(said, samples[0]) == 1.0


def test_boxes_on_the_bundled_model_are_asked_in_its_words(folder, bundled):
    rows = [{"image": "images/0.png", "question": "the red star", "box": [8, 10, 40, 30]}]
    dataset = get_dataset(save(folder, "m.jsonl", rows))
    assert ask(dataset, dataset.sample("all", 0), bundled).question == "Where is the red star?"


def test_only_columns_in_use_are_read_and_damaged_rows_are_skipped(folder):
    table = pa.Table.from_pylist([row | {"note": "fine"} for row in ROWS])
    offsets = table["note"].chunk(0).buffers()
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, offsets[1], pa.py_buffer(b"\xff" * offsets[2].size)]
    )
    times = pa.array([2**62, -(2**62), 0], pa.timestamp("us"))
    path = folder / "m.parquet"
    odd = table.set_column(table.schema.get_field_index("note"), "note", broken)
    pq.write_table(odd.append_column("taken", times), path)
    assert len(asked(path)[1]) == 3  # neither column is in use
    places = pa.array(["one", "two", "cat"]).buffers()[:2]
    answers = pa.Array.from_buffers(pa.string(), 3, [*places, pa.py_buffer(b"onetw\xffcat")])
    odd = table.set_column(table.schema.get_field_index("answers"), "answers", answers)
    pq.write_table(odd, path)
    _, samples, skipped = asked(path)
    assert [s.answers for s in samples] == [("one",), ("cat",)]
    assert "row 2: cannot be read" in skipped[0]


def test_the_option_names_columns_of_own_data(folder):
    from swiftprof.cli.options import DataOptions, LoadOptions
    from swiftprof.cli.resolve import resolve

    rows = [{"pic": r["image"], "q": r["question"], "gold": r["answers"][0]} for r in ROWS]
    data = DataOptions(
        datasets=f"scenes-qa,{save(folder, 'odd.csv', rows)}",
        columns="image=pic,question=q,answers=gold",
    )
    bundled, own = resolve(LoadOptions(), data).datasets()
    assert (bundled.name, bundled.origin) == ("scenes-qa", "")
    assert own.sample("all", 1).answers == ("ball",)
    assert get_dataset(own.origin).sample("all", 1) == own.sample("all", 1)


def test_scienceqa_has_a_train_split_and_its_advice_names_where(folder):
    (folder / "lmms-lab" / "ScienceQA-IMG").mkdir(parents=True)
    with pytest.raises(SwiftprofError, match=r"hf download lmms-lab/ScienceQA-IMG "):
        get_dataset("scienceqa", folder).size("train")
