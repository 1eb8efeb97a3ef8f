"""Every reader of files from elsewhere, each with a small whole file."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from curves import plan_of_curve
from mutate import Reader
from PIL import Image

from swiftprof.data.asking import ask_all
from swiftprof.data.images import open_image
from swiftprof.data.registry import BUNDLED, DATASETS, get_dataset
from swiftprof.data.sources.find import Found, Part
from swiftprof.data.sources.parquet import Rows
from swiftprof.models.conventions import Conventions
from swiftprof.planning.curve import Curve
from swiftprof.planning.plan_file import Plan

ROOT = Path(__file__).parents[2]
PLAN = ROOT / "swiftprof" / "planning" / "plans" / "llava-1.5-7b.json"
CURVE = {"num_layers": 8, "x": {"2": 0.5, "3": 0.6, "5": 0.8, "7": 0.7}}


class Model:
    """A model as far as data sets see one."""

    conventions = Conventions(image_fit="pad")

    def seen_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height


def all_readers(folder: Path) -> dict[str, Reader]:
    """Name → reader, each with its file in a folder of its own below `folder`."""
    readers = _documents(folder) | _images(folder) | _own(folder) | _hosted(folder)
    return readers


def folder_readers(folder: Path, run: Path) -> dict[str, Reader]:
    """The same for every file of a profile or an evaluation."""
    from swiftprof.report.collect import collect
    from swiftprof.report.images import Album

    copy = folder / run.name
    shutil.copytree(run, copy)
    return {
        f"{run.name}/{file.relative_to(copy)}": Reader(
            file,
            lambda path: collect([copy], samples=2, album=Album()),
            {".json": "json", ".parquet": "parquet"}.get(file.suffix, ""),
            0.02,
        )
        for file in sorted(copy.rglob("*"))
        if file.suffix in (".json", ".parquet")
    }


def _at(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _documents(folder: Path) -> dict[str, Reader]:
    def curve(path: Path) -> None:
        plan_of_curve(Curve.from_json(path), ratio=0.5)

    def plan(path: Path) -> None:
        Plan.load(path).tokens_per_layer(576)

    return {
        "plan.json": Reader(_at(folder, "plan/plan.json", PLAN.read_bytes()), plan, "json"),
        "curve.json": Reader(_at(folder, "curve/curve.json", json.dumps(CURVE)), curve, "json"),
    }


def _picture() -> Image.Image:
    image = Image.linear_gradient("L").resize((48, 36)).convert("RGB")
    return image


def _encoded(kind: str, image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def _images(folder: Path) -> dict[str, Reader]:
    kinds = {
        kind: _encoded(kind, _picture())
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
    }
    kinds["1-bit PNG"] = _encoded("PNG", _picture().convert("1"))
    kinds["float TIFF"] = _encoded("TIFF", _picture().convert("F"))
    kinds["palette PNG"] = _encoded("PNG", _picture().quantize(8))
    turned = Image.Exif()
    turned[0x0112] = 6
    out = io.BytesIO()
    _picture().save(out, "JPEG", exif=turned)
    kinds["turned JPEG"] = out.getvalue()
    return {
        f"image {kind}": Reader(
            _at(folder, f"image/{kind}", content),
            lambda path: open_image(path, "image"),
            weight=0.5,
        )
        for kind, content in kinds.items()
    }


def _ask(name: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        dataset = get_dataset(f"{path.parent if name == 'folder' else path}")
        for split, size in dataset.splits.items():
            ask_all(dataset, split, range(min(size, 8)), Model())
            dataset.source(split)

    return read


def _own(folder: Path) -> dict[str, Reader]:
    answers: list[dict[str, Any]] = [
        {"id": str(i), "image": "a.png", "question": "What?", "answers": ["x", "y"], "kind": "k"}
        for i in range(3)
    ]
    boxes = [{"image": "a.png", "question": "it", "bbox": [4, 5, 20, 18]} for _ in range(3)]
    choices = [
        {"images": ["a.png", "a.png"], "question": "<image>?", "choices": ["x", "y"], "answer": 1}
    ] * 2
    chat = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "x"}]
    chats = [{"id": "1", "image": "a.png", "conversations": chat}] * 2
    forms: dict[str, tuple[bytes | str, str]] = {}
    for kind, rows in (
        ("answers", answers),
        ("boxes", boxes),
        ("choices", choices),
        ("chats", chats),
    ):
        forms[f"{kind}.json"] = json.dumps(rows), "json"
        forms[f"{kind}.jsonl"] = "\n".join(map(json.dumps, rows)), "json"
        out = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), out)
        forms[f"{kind}.parquet"] = out.getvalue().to_pybytes(), "parquet"
    table = 'image,question,answers,bbox\na.png,What?,x,\na.png,"a, b","[""x""]",\n'
    forms["answers.jsonl.gz"] = gzip.compress(str(forms["answers.jsonl"][0]).encode()), "json"
    forms["table.csv"] = table, ""
    forms["table.tsv"] = table.replace(",", "\t"), ""
    readers = {}
    for name, (content, structure) in forms.items():
        path = _at(folder, f"own-{name}/{name}", content)
        _at(path.parent, "a.png", _encoded("PNG", _picture()))
        readers[f"own {name}"] = Reader(path, _ask("file"), structure)
    arrow = folder / "own-folder"
    arrow.mkdir()
    _at(arrow, "a.png", _encoded("PNG", _picture()))
    _at(arrow, "state.json", "{}")
    saved, path = pa.Table.from_pylist(answers), arrow / "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(str(path), saved.schema) as writer:
        writer.write_table(saved)
    readers["own folder"] = Reader(path, _ask("folder"))
    return readers


def _hosted(folder: Path) -> dict[str, Reader]:
    """Every split's file of every set, read without looking for it."""
    place = ROOT / "tests" / "data" / "repositories.py"
    spec = importlib.util.spec_from_file_location("swiftprof_repositories", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = module.make_all(folder / "hosted")
    readers = {}
    for name in DATASETS:
        if name in BUNDLED:
            continue
        dataset: Any = get_dataset(name)
        for split, part in dataset.parts.items():
            path = _file(root, part)
            readers[f"{name} {split}"] = Reader(path, _from(name, split, root), "parquet", 0.15)
    return readers


def _file(root: Path, part: Part) -> Path:
    inside = root / part.ids[0] / _folder(root, part)
    return sorted(inside.glob(f"{part.split}-*.parquet"))[0]


def _folder(root: Path, part: Part) -> str:
    config = part.config or "data"
    return config if (root / part.ids[0] / config).is_dir() else "data"


def _from(name: str, split: str, root: Path) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        dataset: Any = get_dataset(name, root)

        def opened(part: Part) -> Rows:
            if part not in kept:
                found = Found((str(_file(root, part)),), "here")
                kept[part] = Rows(found, f"{name} {split}", part.columns)
            return kept[part]

        kept: dict[Part, Rows] = {}
        dataset.open = opened
        dataset.groups(split)
        ask_all(dataset, split, range(min(dataset.size(split), 6)), Model())

    return read
