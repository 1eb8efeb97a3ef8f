"""Every loader from file to score, on repositories in each set's own schema."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from io import BytesIO

import pyarrow.parquet as pq
import pytest
from PIL import Image

from swiftprof.data.asking import ask, ask_all
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, DATASETS, get_dataset
from swiftprof.errors import SwiftprofError
from swiftprof.models.conventions import Conventions

HOSTED = [name for name in DATASETS if name not in BUNDLED]
SPLITS = [(name, split) for name in HOSTED for split in get_dataset(name).splits]


@dataclass
class Model:
    """A model as far as data sets see one."""

    conventions: Conventions = field(default_factory=lambda: Conventions(image_fit="pad"))

    def seen_size(self, width, height):
        return width, height


def perfect(sample):
    """What a model says that knows the answer and gives boxes on the padded square."""
    if sample.box is None:
        return max(sorted(set(sample.answers)), key=sample.answers.count)
    frame = sample.frame
    x1, y1, x2, y2 = sample.box
    xs = [(x + frame.left) / frame.scale_x for x in (x1, x2)]
    ys = [(y + frame.top) / frame.scale_y for y in (y1, y2)]
    return f"[{xs[0]:.2f}, {ys[0]:.2f}, {xs[1]:.2f}, {ys[1]:.2f}]"


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_from_file_to_score(data_root, name, split):
    dataset = get_dataset(name, data_root)
    size = dataset.size(split)
    samples, skipped = ask_all(dataset, split, range(size), Model())
    assert not skipped
    assert size >= 4
    assert len({s.id for s in samples}) == size
    for sample in samples:
        assert dataset.score(perfect(sample), sample) == 1.0
        assert dataset.score("[0.9, 0.9, 1.0, 1.0] zebra crossing", sample) in (0.0, 1.0)
        assert sample.images[0].mode == "RGB"
        assert sample.image.size[0] == sample.image.size[1]
    wrong = "[0.98, 0.98, 0.99, 0.99]" if dataset.localization else "no idea"
    assert sum(dataset.score(wrong, s) for s in samples) < size
    assert "(local copy, files " in dataset.source(split)
    assert dataset.metric in dataset.protocol(Conventions())


BOX = "Please provide the bounding box coordinate of the region this sentence describes: "
FORMAT = (
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, "
    "bottom-right y). All values are floating point numbers bounded between 0 and 1. "
)
SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
OPTIONS = "\nA. a red box\nB. a zebra\nC. a boat\nD. a cloud"
BOXES = "\nA. the red one\nB. the blue one"
LOOK = "Look at the middle."
HINTED = "Context: Two boxes stand side by side.\nWhich box is warmer?"
PROMPTS = [
    ("refcoco", "train", 0, "llava", BOX + "red box 00"),
    ("refcoco", "testA", 0, "llava", BOX + "the red box 0"),
    ("refcoco", "testA", 0, "lmms", FORMAT + BOX + "the red box 0"),
    (
        "refcocog",
        "test",
        0,
        "qwen3",
        'Locate every object that matches the description "the red box 0" in the image. '
        "Report bbox coordinates in JSON format.",
    ),
    (
        "refcocog",
        "test",
        0,
        "qwen2.5",
        "Locate the red box 0 in this image and output the bbox coordinates in JSON format.",
    ),
    ("refcocog", "test", 0, "qwen2", BOX + "the red box 0"),
    ("refcocog", "test", 0, "scenes", "Where is the red box 0?"),
    ("refcoco", "testA", 0, "llava-eval", BOX + "the red box 0"),
    ("textvqa", "train", 0, "llava-eval", "what does the Sign 0 say?" + SHORT),
    ("refcoco+", "testB", 0, "internvl", BOX + "<ref>the red box 0</ref>"),
    ("textvqa", "train", 0, "llava", "what does the Sign 0 say?" + SHORT),
    ("textvqa", "train", 0, "lmms", "What does the sign 0 say?" + SHORT),
    (
        "textvqa-ocr",
        "validation",
        1,
        "llava",
        "what does the Sign 1 say?\nReference OCR token: STOP, ALL WAY" + SHORT,
    ),
    ("gqa", "testdev", 0, "llava", "Is box 0 red?" + SHORT),
    ("vqav2", "validation", 2, "lmms", "How many boxes are in picture 2?" + SHORT),
    ("vqav2", "train", 2, "llava", "How many boxes are in picture 2?" + SHORT),
    (
        "scienceqa",
        "test",
        1,
        "llava",
        HINTED + "\nA. the red one\nB. the blue one\nC. neither" + LETTER,
    ),
    (
        "scienceqa",
        "test",
        0,
        "lmms",
        "Which box is warmer?\nA. the red one\nB. the blue one" + LETTER,
    ),
    ("mme", "test", 0, "llava", "Is there a box in this image?" + SHORT),
    ("pope", "random", 0, "lmms", "Is there a box in the image?" + SHORT),
    (
        "mmbench",
        "dev",
        0,
        "llava",
        "Look at the middle.\nWhat is in the picture?" + OPTIONS + LETTER,
    ),
    (
        "mmbench",
        "dev",
        0,
        "lmms",
        "Look at the middle. What is in the picture? There are several options:"
        + OPTIONS
        + "\n"
        + LETTER,
    ),
    (
        "mmbench",
        "dev",
        4,
        "llava",
        "What is in the picture?\nA. a red box\nB. a zebra\nC. a boat" + LETTER,
    ),
]


@pytest.mark.parametrize(("name", "split", "index", "style", "prompt"), PROMPTS)
def test_prompts_to_the_character(data_root, name, split, index, style, prompt):
    dataset = get_dataset(name, data_root)
    model = Model(Conventions(prompt_style=style))
    assert ask(dataset, dataset.sample(split, index), model).question == prompt


def test_protocols_say_what_matters():
    llava, whole = Conventions(image_fit="pad"), Conventions("qwen2.5", "whole", box_units="pixels")
    assert get_dataset("refcoco").protocol(llava) == (
        "llava prompt; image padded to a square; boxes in 0-1, un-padded; "
        "greedy, at most 100 new tokens; ACC@0.5"
    )
    assert "qwen2.5 prompt; whole image; boxes in pixels as resized;" in get_dataset(
        "refcoco"
    ).protocol(whole)
    assert "without OCR tokens" in get_dataset("textvqa").protocol(llava)
    assert "with OCR tokens" in get_dataset("textvqa-ocr").protocol(llava)
    assert "LLaVA's rule; image padded" in get_dataset("scienceqa").protocol(llava)
    assert "any usual form" in get_dataset("scienceqa").protocol(whole)
    evaluated = get_dataset("pope").protocol(Conventions("llava-eval", "pad"))
    assert evaluated.startswith("llava prompt; system prompt of vicuna_v1; image padded")


@pytest.mark.parametrize("name", DATASETS)
def test_protocols_of_likelihoods_name_no_metric_of_answers(name):
    line = get_dataset(name).protocol(Conventions(), "nll")
    assert line.endswith("; reference answer teacher-forced; mean token probability")
    for word in ("accuracy", "F1", "circular", "match", "ACC", "greedy", "tokens"):
        assert word not in line.replace("OCR tokens", "")


def read_all(dataset, split):
    return [dataset.sample(split, index) for index in range(dataset.size(split))]


def parquet_of(part, root):
    folder = root / part.ids[0] / (part.config or "data")
    return sorted(folder.glob(f"{part.split}-*.parquet"))[-1]


@pytest.mark.parametrize("name", HOSTED)
def test_a_missing_column_is_named_with_its_file(copied_root, name):
    """Every column of every split, one after the other."""
    fresh = get_dataset(name)
    parts = [*fresh.parts.items(), *getattr(fresh, "images", {}).items()]
    for split, part in parts:
        file = parquet_of(part, copied_root)
        whole = file.read_bytes()
        table = pq.read_table(file, partitioning=None)
        for column in part.columns:
            renamed = [f"{c}_v2" if c == column else c for c in table.column_names]
            pq.write_table(table.rename_columns(renamed), file)
            dataset = get_dataset(name, copied_root)
            with pytest.raises(SwiftprofError) as caught:
                read_all(dataset, split)
            message = str(caught.value)
            assert f"column '{column}' is missing" in message
            assert str(file) in message
            assert f"{column}_v2" in message
            assert message.count("\n") == 0
        file.write_bytes(whole)


def change(file, column, row, value):
    """Put another value into one cell of a parquet file."""
    table = pq.read_table(file, partitioning=None)
    rows = table.to_pylist()
    rows[row][column] = value
    pq.write_table(table.from_pylist(rows, schema=table.schema), file, row_group_size=2)


def jpeg(size):
    out = BytesIO()
    Image.new("1", size).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("image", None, "image holds no bytes"),
        ("image", {"bytes": b"GIF89a?", "path": "x"}, "not a"),
        ("image", {"bytes": None, "path": "/etc/hostname"}, "image holds no bytes"),
        ("image", jpeg((20_000, 6_000)), "over 67 million"),
        ("image", jpeg((60_000, 20)), "too long and thin"),
        ("image", jpeg((600, 3)), "too small"),
        ("question", None, "question is None"),
        ("question", "  ", "question is"),
        ("answers", None, "answers is None"),
        ("answers", [], "answers is []"),
    ],
)
def test_broken_rows_are_skipped_with_their_reason(copied_root, column, value, reason):
    part = get_dataset("textvqa").parts["validation"]
    change(parquet_of(part, copied_root), column, 3, value)
    samples, skipped = ask_all(
        get_dataset("textvqa", copied_root), "validation", range(10), Model()
    )
    assert len(samples) == 9
    assert [s.index for s in skipped] == [3]
    assert reason in skipped[0].reason


@pytest.mark.parametrize(
    ("name", "split", "column", "value", "reason"),
    [
        ("refcoco", "testA", "bbox", [1.0, 2.0, 3.0], "not four numbers"),
        ("refcoco", "testA", "bbox", [1.0, 2.0, 0.0, 5.0], "no area"),
        ("refcoco", "testA", "answer", [], "answer is []"),
        ("refcoco", "train", "bbox", [8.0, 10.0, 32.0, 20.0], "disagree"),
        ("refcoco", "train", "sentences", [], "sentences is empty"),
        ("refcoco", "train", "image_path", "../../../etc/passwd", "not the name of a train2014"),
        ("gqa", "testdev", "imageId", "999", "not among the images"),
        ("scienceqa", "test", "answer", 7, "no number of an option"),
        ("mme", "test", "answer", "Maybe", "neither yes nor no"),
        ("pope", "test", "category", None, "category is None"),
        ("mmbench", "dev", "index", "x", "index is 'x'"),
        ("mmbench", "dev", "answer", "D", "none of the"),
        ("mmbench", "dev", "A", "nan", "no option"),
    ],
)
def test_broken_values_of_each_set(copied_root, name, split, column, value, reason):
    dataset = get_dataset(name, copied_root)
    row = 8 if column == "answer" and name == "mmbench" else 0
    change(parquet_of(dataset.parts[split], copied_root), column, row, value)
    _, skipped = ask_all(dataset, split, range(dataset.size(split)), Model())
    assert skipped
    assert all(reason in s.reason for s in skipped)


def test_a_damaged_file_is_named(copied_root):
    file = parquet_of(get_dataset("pope").parts["random"], copied_root)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(SwiftprofError, match=r"random.*cannot read.*damaged"):
        get_dataset("pope", copied_root).size("random")


def test_copies_without_a_card_and_under_other_names(copied_root, tmp_path):
    (copied_root / "lmms-lab-encoder" / "POPE" / "README.md").unlink()
    dataset = get_dataset("pope", copied_root)
    assert (dataset.size("test"), dataset.size("popular")) == (12, 4)
    for name in ("lmms-lab/POPE", "POPE"):
        root = tmp_path / name.replace("/", "-")
        shutil.copytree(copied_root / "lmms-lab-encoder" / "POPE", root / name)
        assert get_dataset("pope", root).size("adversarial") == 4


def test_a_copy_with_missing_files_is_refused(copied_root):
    folder = copied_root / "lmms-lab-encoder" / "textvqa"
    (folder / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(SwiftprofError, match=r"has 1 of 2 files of split train.*hf download"):
        get_dataset("textvqa", copied_root).size("train")
    (folder / "README.md").unlink()
    with pytest.raises(SwiftprofError, match="has 1 of 2 files"):
        get_dataset("textvqa", copied_root).size("train")
    assert get_dataset("textvqa", copied_root).size("validation") == 10


def test_a_copy_records_the_revision_that_was_downloaded(copied_root):
    folder = copied_root / "lmms-lab-encoder" / "POPE"
    before = get_dataset("pope", copied_root).source("random")
    note = folder / ".cache/huggingface/download/Full/random-00000-of-00001.parquet.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("ab" * 20 + "\netag\n1700000000.0\n")
    assert get_dataset("pope", copied_root).source("random").endswith(f"revision {'ab' * 20})")
    note.unlink()
    assert get_dataset("pope", copied_root).source("random") == before
    change(folder / "Full" / "random-00000-of-00001.parquet", "question", 0, "Another one?")
    assert get_dataset("pope", copied_root).source("random") != before


def test_a_copy_without_the_split_says_how_to_get_it(copied_root):
    for file in (copied_root / "lmms-lab-encoder" / "POPE" / "Full").glob("random-*"):
        file.unlink()
    with pytest.raises(SwiftprofError, match=r"no parquet files for split random.*hf download"):
        get_dataset("pope", copied_root).size("random")


@pytest.mark.parametrize("place", ["coco/train2014", "coco/images/train2014", "."])
def test_coco_images_are_found_where_people_keep_them(copied_root, place):
    (copied_root / "coco" / "images").mkdir(parents=True)
    if place == ".":
        for file in (copied_root / "train2014").iterdir():
            shutil.move(file, copied_root)
    else:
        shutil.move(copied_root / "train2014", copied_root / place)
    assert get_dataset("refcoco", copied_root).sample("train", 0).image.size == (64, 48)


def unreachable(*_, **__):
    raise OSError("Name or service not known")


def test_coco_images_are_fetched_one_by_one_and_kept(copied_root, repositories, monkeypatch):
    shutil.rmtree(copied_root / "train2014")
    asked = []

    def answer(url, timeout):
        asked.append(url)
        return BytesIO(repositories.encoded(repositories.picture(0), "JPEG"))

    monkeypatch.setattr("urllib.request.urlopen", answer)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    dataset = get_dataset("refcoco", copied_root)
    assert dataset.sample("train", 0).image.size == (64, 48)
    assert asked == ["http://images.cocodataset.org/train2014/COCO_train2014_000000000000.jpg"]
    dataset.sample("train", 0)
    assert len(asked) == 1
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(SwiftprofError, match=r"cannot reach.*train2014"):
        dataset.sample("train", 8)


def test_pairs_and_rotations_are_drawn_whole(data_root):
    mme = get_dataset("mme", data_root)
    for n in (2, 3, 7):
        drawn = [mme.sample("test", i) for i in draw(mme, "test", n, 0)]
        assert len(drawn) == n - n % 2
        keys = [(s.kind, s.group) for s in drawn]
        assert all(keys.count(key) == 2 for key in keys)
    assert len(draw(mme, "test", 1, 0)) == 2
    bench = get_dataset("mmbench", data_root)
    drawn = [bench.sample("dev", i) for i in draw(bench, "dev", 5, 3)]
    rotations = {"241": 4, "242": 3, "243": 2}
    assert all([s.group for s in drawn].count(s.group) == rotations[s.group] for s in drawn)
    assert sorted(draw(bench, "dev", 9, 0)) == list(range(9))


def test_no_train_split_lists_the_splits(data_root):
    with pytest.raises(SwiftprofError, match="mme has no split 'train': it has test"):
        draw(get_dataset("mme", data_root), "train", 5, 0)


def test_gqa_goes_by_image_so_that_blocks_share_row_groups(data_root):
    dataset = get_dataset("gqa", data_root)
    images = [dataset._order("train")[i][1] for i in range(12)]
    assert images == sorted(images)
