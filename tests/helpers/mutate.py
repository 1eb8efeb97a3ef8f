"""Damaged files for every reader: seeded, repeatable, and judged by what the reader does.

A reader must return or refuse in one line; anything else is a finding: another exception, a crash,
more than `SECONDS`, more than `MEGABYTES` above what the process had. As a script it works through
many inputs in child processes, and goes on where it stopped::

    python tests/helpers/mutate.py --inputs 100000 --state findings.json --run profiles/tiny-llava
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import random
import resource
import shutil
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swiftprof.errors import SwiftprofError

SECONDS = 10
MEGABYTES = 1000
LONGEST_LINE = 2000
ODD_TEXTS = (
    "\\ud800", "\\u001b]0;x\\u0007", "[/bold]", "../../../etc/passwd", "", "\\u0000", "nan",
    "x" * 3000, "data:image/png;base64,", "<image>", "true", "-1", "\\udfff\\ud83d",
)  # fmt: skip
ODD_VALUES = (
    "null", "true", "[]", "{}", "-0", "1e999", "9" * 401, "NaN", "[[[[[[]]]]]]", "1e-400", "-1",
    "0.5", '"A"', "[null]", '{"bytes": null}', "1" * 5000,
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A reader with a whole file that it reads.

    Attributes:
        file: the file that is damaged, inside a folder of its own.
        read: reads the folder or the file.
        structure: `json`, `parquet`, or empty for bytes only.
        weight: how often it is drawn.
    """

    file: Path
    read: Callable[[Path], object]
    structure: str = ""
    weight: float = 1.0


def mutated(content: bytes, structure: str, rng: random.Random) -> bytes:
    """The content with something wrong in it."""
    kinds: list[Callable[[bytes, random.Random], bytes]] = [_bytes, _bytes, _cut, _doubled]
    if structure == "json":
        kinds += [_json_text, _json_text, _json_text, _json_value]
    if structure == "parquet" and rng.random() < 0.4:
        content = _column(content, rng)  # first, as it reads the file
        if rng.random() < 0.7:
            return content
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(kinds)(content, rng)
    return content


def _bytes(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    if not out:
        return content
    for _ in range(rng.choice((1, 2, 8))):
        start, width = rng.choice(((0, len(out)), (0, 400), (max(0, len(out) - 400), 400)))
        place = min(len(out) - 1, start + rng.randrange(width))
        match rng.randrange(4):
            case 0:
                out[place] ^= 1 << rng.randrange(8)
            case 1:
                out[place] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                odd = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)))
                out[place : place + 4] = struct.pack(rng.choice("<>") + "I", odd)
            case _:
                out[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5)))
    return bytes(out)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _doubled(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:b] + content[a:b] * rng.choice((1, 1, 3)) + content[b:]


def _json_text(content: bytes, rng: random.Random) -> bytes:
    """Another value where one stands, written as text so that JSON may end up broken, too."""
    marks = [i for i, c in enumerate(content[:200_000]) if c in b":,["]
    if not marks:
        return content
    place = rng.choice(marks) + 1
    end = place
    while end < len(content) and content[end : end + 1] not in (b",", b"}", b"]", b"\n"):
        end += 1
    text = f'"{rng.choice(ODD_TEXTS)}"' if rng.random() < 0.5 else rng.choice(ODD_VALUES)
    return content[:place] + text.encode() + content[end:]


def _json_value(content: bytes, rng: random.Random) -> bytes:
    """Whole values replaced, removed or added in a document that stays JSON."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    node = document
    while isinstance(node, dict | list) and node:
        key: Any = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        inner = node[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            node = inner
            continue
        match rng.randrange(3):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[rng.choice(("image", "x", "box", "schema", "\ud800"))] = inner
            case _:
                node[key] = rng.choice(
                    (None, True, -1, 1e300, "", "\ud800", [], {}, [[]], "x" * 999)
                )
        break
    return json.dumps(document).encode()


def _column(content: bytes, rng: random.Random) -> bytes:
    """A parquet file with one column of another kind."""
    try:
        table = pq.read_table(pa.BufferReader(content))
        place = rng.randrange(table.num_columns)
    except (OSError, ValueError, pa.ArrowException, MemoryError):
        return content
    n = min(table.num_rows, 1000)
    name, text = table.column_names[place], pa.py_buffer(b"\xff\xfe" * n)
    offsets = pa.array(range(0, 2 * n + 1, 2), pa.int32()).buffers()[1]
    odd: list[pa.Array] = [
        pa.nulls(n), pa.array([2**62] * n, pa.timestamp("us")), pa.array([1e308] * n),
        pa.array([[]] * n, pa.list_(pa.string())), pa.array(["\x00"] * n), pa.array([b"\xff"] * n),
        pa.Array.from_buffers(pa.string(), n, [None, offsets, text]), pa.array([True] * n),
        pa.array([{"bytes": b"x", "path": "../x"}] * n), pa.array([["x"] * 50] * n),
        pa.array([-1] * n), pa.array([None, *["a"] * (n - 1)][:n], pa.string()),
        pa.array(["9" * 401] * n), pa.array([[2**53, -1.0, 0.0]] * n),
    ]  # fmt: skip
    out = pa.BufferOutputStream()
    try:
        table = table.slice(0, n)
        if rng.random() < 0.02:  # one text, said 300,000 times: 1.5 GB a column
            zeros = pa.array([0] * 300_000, pa.int32())
            bomb = pa.DictionaryArray.from_arrays(zeros, pa.array(["x" * 5000]))
            table = pa.table(dict.fromkeys(table.column_names, bomb))
            pq.write_table(table, out, compression="zstd", store_schema=False)
        else:
            changed = (
                table.drop_columns([name])
                if rng.random() < 0.1
                else table.set_column(place, name, rng.choice(odd))
            )
            pq.write_table(changed, out)
    except (OSError, ValueError, pa.ArrowException, MemoryError):
        return content
    return out.getvalue().to_pybytes()


def judge(reader: Reader, content: bytes) -> str:
    """Write the content, read it, and say what is wrong with how that went; empty if nothing."""
    reader.file.write_bytes(content)
    began, before = time.process_time(), _peak()  # the machine may have others to work for
    try:
        reader.read(reader.file)
    except SwiftprofError as error:
        line = str(error)
        if not 0 < len(line) < LONGEST_LINE or "\n" in line:
            return f"a message of {len(line)} characters: {line[:100]!r}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:150]} ({last.filename}:{last.lineno})"
    if (took := time.process_time() - began) > SECONDS:
        return f"{took:.0f} seconds"
    if (grown := _peak() - before) > MEGABYTES:
        return f"{grown} MB"
    return ""


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def one(readers: dict[str, Reader], whole: dict[str, bytes], seed: int) -> tuple[str, str]:
    """(reader, finding) of input number `seed`."""
    rng = random.Random(seed)
    names = list(readers)
    name = rng.choices(names, [readers[n].weight for n in names])[0]
    packed = name.endswith(".gz") and rng.random() < 0.8
    content = gzip.decompress(whole[name]) if packed else whole[name]
    content = mutated(content, readers[name].structure, rng)
    return name, judge(readers[name], gzip.compress(content) if packed else content)


def _work(folder: Path, runs: list[Path], first: int, last: int, pipe: Any) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from readers import all_readers, folder_readers  # type: ignore[import-not-found]

    readers: dict[str, Reader] = all_readers(folder)
    for each in runs:
        readers |= folder_readers(folder, each)
    whole = {name: reader.file.read_bytes() for name, reader in readers.items()}
    for seed in range(first, last):
        pipe.send(seed)
        name, finding = one(readers, whole, seed)
        readers[name].file.write_bytes(whole[name])
        if finding:
            pipe.send((seed, name, finding))
        if _peak() > 2 * MEGABYTES:
            break  # a fresh process, so that the next peak is seen


def run(inputs: int, state: Path, runs: list[Path], chunk: int = 2000) -> dict[str, Any]:
    """Work through inputs 0..inputs-1 and return the state: how far, and the findings.

    Args:
        runs: folders of profiles and evaluations, whose files are damaged too.
    """
    told = {"next": 0, "findings": []}
    if state.is_file():
        told = json.loads(state.read_text())
    context = multiprocessing.get_context("spawn")
    while told["next"] < inputs:
        folder = Path(mkdtemp(prefix="mutate-"))
        ours, theirs = context.Pipe(duplex=False)
        last = min(inputs, told["next"] + chunk)
        child = context.Process(
            target=_work, args=(folder, runs, told["next"], last, theirs), daemon=True
        )
        child.start()
        theirs.close()
        at = told["next"]
        try:
            while ours.poll(SECONDS * 30):  # a machine may be busy; a hang is one for good
                message = ours.recv()
                if isinstance(message, int):
                    at = message
                else:
                    told["findings"].append(list(message))
            told["findings"].append([at, "?", "no end"])
        except EOFError:
            child.join(30)
            if child.exitcode:
                told["findings"].append([at, "?", f"process ended with {child.exitcode}"])
        child.kill()
        child.join()
        told["next"] = at + 1
        shutil.rmtree(folder, ignore_errors=True)
        state.write_text(json.dumps(told, indent=1))
        print(f"{told['next']} inputs, {len(told['findings'])} findings", flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--state", type=Path, default=Path("findings.json"))
    parser.add_argument("--run", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    run(arguments.inputs, arguments.state, arguments.run)


if __name__ == "__main__":
    main()
