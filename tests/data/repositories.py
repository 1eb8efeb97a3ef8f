"""Tiny repositories in the exact schema of each data set, made on the spot.

Each holds a handful of rows with images of our own making, as parquet files where the set's own
repository has them, with the README that names configurations and splits. The real loaders read
them through ``--data-root``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXT, TEXTS, INT = pa.string(), pa.list_(pa.string()), pa.int64()


def picture(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A rectangle on a plain ground; each number another."""
    image = Image.new("RGB", size, (40 + 17 * number % 200, 90, 200 - 23 * number % 150))
    draw = ImageDraw.Draw(image)
    draw.rectangle((8 + number % 5, 10, 40, 30 + number % 7), fill=(230, 60 + 9 * number % 160, 30))
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def cell(number: int, size: tuple[int, int] = (64, 48)) -> dict[str, Any]:
    """An image as ``datasets`` stores it."""
    return {"bytes": encoded(picture(number, size)), "path": f"{number}.png"}


def write(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    schema: Sequence[tuple[str, pa.DataType]],
    split: str,
    *,
    under: str = "data",
    files: int = 1,
    row_group_size: int = 4,
) -> None:
    """Rows as ``<under>/<split>-0000i-of-0000n.parquet``."""
    (folder / under).mkdir(parents=True, exist_ok=True)
    step = -(-len(rows) // files)
    for i in range(files):
        table = pa.Table.from_pylist(list(rows[i * step : (i + 1) * step]), pa.schema(schema))
        path = folder / under / f"{split}-{i:05d}-of-{files:05d}.parquet"
        pq.write_table(table, path, row_group_size=row_group_size)


def readme(folder: Path, configs: dict[str, dict[str, str]]) -> None:
    """The card's header: configuration → split → pattern of files."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


REFCOCO_BOX = [8.0, 10.0, 32.0, 20.0]
"""xywh pixels of the rectangle in `picture(0)`, on 64 x 48."""


def refcoco(root: Path, repository: str, splits: Sequence[str]) -> None:
    schema = [
        ("question_id", TEXT),
        ("image", IMAGE),
        ("question", TEXT),
        ("answer", TEXTS),
        ("segmentation", pa.list_(pa.float32())),
        ("bbox", pa.list_(pa.float32())),
        ("iscrowd", pa.int8()),
        ("file_name", TEXT),
    ]
    folder = root / "lmms-lab-encoder" / repository
    for split in splits:
        rows = [
            {
                "question_id": f"{469306 + i}",
                "image": cell(i),
                "question": "Please carefully observe the area …",
                "answer": [f"the red box {i}", f"box number {i}"][: 1 + i % 2],
                "segmentation": [8.0, 10.0, 40.0, 10.0, 40.0, 30.0],
                "bbox": REFCOCO_BOX,
                "iscrowd": 0,
                "file_name": f"COCO_train2014_{i:012d}_0.jpg",
            }
            for i in range(5)
        ]
        write(folder, rows, schema, split)
    readme(folder, {"default": {s: f"data/{s}-*" for s in splits}})


SENTENCE = pa.struct([("raw", TEXT), ("sent", TEXT), ("sent_id", INT), ("tokens", TEXTS)])


def refcoco_annotations(root: Path, repository: str) -> None:
    schema = [
        ("sent_ids", pa.list_(INT)),
        ("file_name", TEXT),
        ("ann_id", INT),
        ("ref_id", INT),
        ("image_id", INT),
        ("split", TEXT),
        ("sentences", pa.list_(SENTENCE)),
        ("category_id", INT),
        ("raw_anns", TEXT),
        ("raw_image_info", TEXT),
        ("raw_sentences", TEXT),
        ("image_path", TEXT),
        ("bbox", pa.list_(pa.float64())),
        ("captions", TEXTS),
        ("global_image_id", TEXT),
        ("anns_id", TEXT),
    ]
    folder = root / "jxu124" / repository
    x, y, w, h = REFCOCO_BOX
    for split in ("train", "validation"):
        rows = []
        for i in range(5):
            sentences = [
                {"raw": f"Red Box {i}{j}", "sent": f"red box {i}{j}", "sent_id": 10 * i + j}
                for j in range(1 + i % 3)
            ]
            rows.append(
                {
                    "sent_ids": [s["sent_id"] for s in sentences],
                    "file_name": f"COCO_train2014_{i:012d}_{i}.jpg",
                    "ann_id": 1000 + i,
                    "ref_id": 100 + i,
                    "image_id": i,
                    "split": split,
                    "sentences": [{**s, "tokens": s["sent"].split()} for s in sentences],
                    "category_id": 1,
                    "raw_anns": json.dumps({"bbox": [x, y, w, h], "id": 1000 + i}),
                    "raw_image_info": json.dumps({"height": 48, "width": 64}),
                    "raw_sentences": json.dumps(sentences),
                    "image_path": f"coco/train2014/COCO_train2014_{i:012d}.jpg",
                    "bbox": [x, y, x + w, y + h],
                    "captions": ["a box"],
                    "global_image_id": f"coco.{i}",
                    "anns_id": str(1000 + i),
                }
            )
        write(folder, rows, schema, split)
    readme(folder, {"default": {s: f"data/{s}-*" for s in ("train", "validation")}})
    images = root / "train2014"
    images.mkdir(exist_ok=True)
    for i in range(5):
        (images / f"COCO_train2014_{i:012d}.jpg").write_bytes(encoded(picture(i), "JPEG"))


def textvqa(root: Path) -> None:
    schema = [
        ("image_id", TEXT),
        ("question_id", pa.int32()),
        ("question", TEXT),
        ("question_tokens", TEXTS),
        ("image", IMAGE),
        ("image_width", pa.int32()),
        ("image_height", pa.int32()),
        ("flickr_original_url", TEXT),
        ("flickr_300k_url", TEXT),
        ("answers", TEXTS),
        ("image_classes", TEXTS),
        ("set_name", TEXT),
        ("ocr_tokens", TEXTS),
    ]
    folder = root / "lmms-lab-encoder" / "textvqa"
    for split, files in (("train", 2), ("validation", 1)):
        rows = [
            {
                "image_id": f"{i:016x}",
                "question_id": 34602 + i,
                "question": f"what does the Sign {i} say?",
                "question_tokens": ["what"],
                "image": cell(i),
                "image_width": 64,
                "image_height": 48,
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "answers": ["stop"] * 6 + ["stop sign"] * 3 + ["answering does not require"],
                "image_classes": ["Sign"],
                "set_name": split,
                "ocr_tokens": ["STOP", "ALL WAY"],
            }
            for i in range(10)
        ]
        write(folder, rows, schema, split, files=files)
    readme(folder, {"default": {s: f"data/{s}-*" for s in ("train", "validation")}})


def gqa(root: Path) -> None:
    folder = root / "lmms-lab-encoder" / "GQA"
    questions = [
        ("id", TEXT),
        ("imageId", TEXT),
        ("question", TEXT),
        ("answer", TEXT),
        ("fullAnswer", TEXT),
        ("isBalanced", pa.bool_()),
    ]
    configs: dict[str, dict[str, str]] = {}
    for split in ("train", "val", "testdev"):
        name = f"{split}_balanced"
        rows = [
            {
                "id": f"{split}{i:04d}",
                "imageId": str(500 + (7 * i) % 6),
                "question": f"Is box {i} red?",
                "answer": "yes" if i % 2 else "T-shirt",
                "fullAnswer": "Yes, it is.",
                "isBalanced": True,
            }
            for i in range(12)
        ]
        write(folder, rows, questions, split, under=f"{name}_instructions")
        images = [{"id": str(500 + i), "image": cell(i)} for i in range(6)]
        write(
            folder,
            images,
            [("id", TEXT), ("image", IMAGE)],
            split,
            under=f"{name}_images",
            row_group_size=2,
        )
        for kind in ("instructions", "images"):
            configs[f"{name}_{kind}"] = {split: f"{name}_{kind}/{split}-*"}
    readme(folder, configs)


PEOPLE = ["2"] * 5 + ["two"] * 3 + ["3", "many"]


def vqav2_validation(root: Path) -> None:
    answer = pa.struct([("answer", TEXT), ("answer_confidence", TEXT), ("answer_id", INT)])
    schema = [
        ("question_type", TEXT),
        ("multiple_choice_answer", TEXT),
        ("answers", pa.list_(answer)),
        ("image_id", INT),
        ("answer_type", TEXT),
        ("question_id", INT),
        ("question", TEXT),
        ("image", IMAGE),
    ]
    folder = root / "lmms-lab-encoder" / "VQAv2"
    rows = [
        {
            "question_type": "how many",
            "multiple_choice_answer": "2",
            "answers": [
                {"answer": a, "answer_confidence": "yes", "answer_id": n + 1}
                for n, a in enumerate(PEOPLE)
            ],
            "image_id": 262148 + i,
            "answer_type": "number",
            "question_id": 262148000 + i,
            "question": f"How many boxes are in picture {i}?",
            "image": cell(i),
        }
        for i in range(6)
    ]
    write(folder, rows, schema, "validation")
    readme(folder, {"default": {"validation": "data/validation-*"}})


def vqav2_train(root: Path) -> None:
    schema = [
        ("question_type", TEXT),
        ("multiple_choice_answer", TEXT),
        ("answers", TEXTS),
        ("id_image", INT),
        ("answer_type", TEXT),
        ("question_id", INT),
        ("question", TEXT),
        ("image", IMAGE),
        ("id", INT),
    ]
    folder = root / "Multimodal-Fatima" / "VQAv2_train"
    rows = [
        {
            "question_type": "how many",
            "multiple_choice_answer": "2",
            "answers": PEOPLE,
            "id_image": 458752 + i,
            "answer_type": "number",
            "question_id": 458752000 + i,
            "question": f"How many boxes are in picture {i}?",
            "image": cell(i),
            "id": i,
        }
        for i in range(8)
    ]
    write(folder, rows, schema, "train", files=2)
    readme(folder, {"default": {"train": "data/train-*"}})


def scienceqa(root: Path) -> None:
    schema = [
        ("image", IMAGE),
        ("question", TEXT),
        ("choices", TEXTS),
        ("answer", pa.int8()),
        ("hint", TEXT),
        ("task", TEXT),
        ("grade", TEXT),
        ("subject", TEXT),
        ("topic", TEXT),
        ("category", TEXT),
        ("skill", TEXT),
        ("lecture", TEXT),
        ("solution", TEXT),
    ]
    folder = root / "lmms-lab" / "ScienceQA-IMG"
    splits = ("train", "validation", "test")
    for split in splits:
        rows = [
            {
                "image": cell(i),
                "question": "Which box is warmer?",
                "choices": ["the red one", "the blue one", "neither"][: 2 + i % 2],
                "answer": i % 2,
                "hint": "Two boxes stand side by side." if i % 3 else "",
                "task": "closed choice",
                "grade": "grade2",
                "subject": "natural science",
                "topic": "physics",
                "category": "Heat",
                "skill": "Compare",
                "lecture": "",
                "solution": "",
            }
            for i in range(6)
        ]
        write(folder, rows, schema, split)
    readme(folder, {"default": {s: f"data/{s}-*" for s in splits}})


def mme(root: Path) -> None:
    schema = [
        ("question_id", TEXT),
        ("image", IMAGE),
        ("question", TEXT),
        ("answer", TEXT),
        ("category", TEXT),
    ]
    folder = root / "lmms-lab-encoder" / "MME"
    rows = []
    for category in ("existence", "OCR", "code_reasoning"):
        for i in range(2):
            for thing, answer in (("box", "Yes"), ("zebra", "No")):
                rows.append(
                    {
                        "question_id": f"{category}/{i:04d}.png",
                        "image": cell(i),
                        "question": f"Is there a {thing} in this image? Please answer yes or no.",
                        "answer": answer,
                        "category": category,
                    }
                )
    write(folder, rows, schema, "test")
    readme(folder, {"default": {"test": "data/test-*"}})


def pope(root: Path) -> None:
    schema = [
        ("id", TEXT),
        ("question_id", TEXT),
        ("question", TEXT),
        ("answer", TEXT),
        ("image_source", TEXT),
        ("image", IMAGE),
        ("category", TEXT),
    ]
    folder = root / "lmms-lab-encoder" / "POPE"
    everything = []
    for subset in ("adversarial", "popular", "random"):
        rows = [
            {
                "id": str(i),
                "question_id": str(i + 1),
                "question": f"Is there a {'zebra' if i % 2 else 'box'} in the image?",
                "answer": "no" if i % 2 else "yes",
                "image_source": f"COCO_val2014_{i:012d}",
                "image": cell(i),
                "category": subset,
            }
            for i in range(4)
        ]
        everything += rows
        write(folder, rows, schema, subset, under="Full")
    write(folder, everything, schema, "test")
    subsets = ("adversarial", "popular", "random")
    readme(
        folder,
        {"default": {"test": "data/test-*"}, "Full": {s: f"Full/{s}-*" for s in subsets}},
    )


def mmbench(root: Path) -> None:
    names = ("index", "question", "hint", "answer", "A", "B", "C", "D", "category")
    schema: list[tuple[str, pa.DataType]] = [(n, TEXT) for n in names]
    schema += [("image", IMAGE)]
    schema += [(n, TEXT) for n in ("source", "L2-category", "comment", "split")]
    folder = root / "lmms-lab-encoder" / "MMBench"
    rows = []
    for i in range(3):
        options = ["a red box", "a zebra", "a boat", "a cloud"][: 4 - i]
        for turn in range(len(options)):
            turned = options[turn:] + options[:turn]
            rows.append(
                {
                    "index": str(241 + i + 1_000_000 * turn),
                    "question": "What is in the picture?",
                    "hint": "nan" if i else "Look at the middle.",
                    "answer": "ABCD"[turned.index("a red box")],
                    **dict(zip("ABCD", [*turned, "nan", "nan", "nan"], strict=False)),
                    "category": "object_localization",
                    "image": cell(i),
                    "source": "ours",
                    "L2-category": "finegrained_perception",
                    "comment": "nan",
                    "split": "dev",
                }
            )
    write(folder, rows, schema, "dev", under="en")
    readme(folder, {"en": {"dev": "en/dev-*"}})


MAKERS: dict[str, Callable[[Path], None]] = {
    "textvqa": textvqa,
    "gqa": gqa,
    "vqav2-validation": vqav2_validation,
    "vqav2-train": vqav2_train,
    "scienceqa": scienceqa,
    "mme": mme,
    "pope": pope,
    "mmbench": mmbench,
}


def make_all(root: Path) -> Path:
    """Every repository below one folder."""
    for make in MAKERS.values():
        make(root)
    for repository, annotated, splits in (
        ("RefCOCO", "refcoco", ("val", "test", "testA", "testB")),
        ("RefCOCOplus", "refcocoplus", ("val", "testA", "testB")),
        ("RefCOCOg", "refcocog", ("val", "test")),
    ):
        refcoco(root, repository, splits)
        refcoco_annotations(root, annotated)
    return root
