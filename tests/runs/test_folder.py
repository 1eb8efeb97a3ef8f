"""Parts of a run: what they say of themselves, how they heal and grow. No model is needed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swiftprof.data.asking import Skipped
from swiftprof.errors import SwiftprofError
from swiftprof.runs import folder as module
from swiftprof.runs import part as part_module
from swiftprof.runs.folder import Parts, Series, sweep
from swiftprof.runs.part import Damaged, Stamp, read_part

SCHEMA = pa.schema([("text", pa.string()), ("value", pa.float64())])


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(module, "PART_SAMPLES", 4)
    return Parts(tmp_path, SCHEMA)


def rows(*indices: int) -> dict[int, dict[str, object]]:
    return {i: {"text": f"t{i}", "value": i / 2} for i in indices}


def texts(parts: Parts, series: Series) -> list[str]:
    return [t for part in parts.read(series) for t in part.rows["text"].to_pylist()]


def test_samples_are_added_and_read_in_the_order_drawn(parts: Parts) -> None:
    small, large = Series("a", "d", (9, 3)), Series("a", "d", (9, 3, 7, 5, 1, 8))
    parts.add(small, 0, rows(3), [Skipped(9, "broken")])
    assert parts.missing(small) == {}
    assert parts.missing(large) == {0: (7, 5), 1: (1, 8)}
    parts.add(large, 0, rows(5, 7))
    parts.add(large, 1, rows(1, 8))
    assert texts(parts, large) == ["t3", "t7", "t5", "t1", "t8"]
    assert texts(parts, small) == ["t3"]
    assert [s.index for part in parts.read(large) for s in part.stamp.skipped] == [9]


def test_every_kind_of_damage_is_mended_and_other_settings_are_refused(parts: Parts) -> None:
    series = Series("a", "d", tuple(range(12)))
    for number in range(3):
        parts.add(series, number, rows(*range(4 * number, 4 * number + 4)))
    whole = [parts.path("a", n).read_bytes() for n in range(3)]
    for raw in (b"", whole[1][:-7], whole[0], whole[2], b"\0" * len(whole[1])):
        parts.path("a", 1).write_bytes(raw)
        assert parts.missing(series) == {1: (4, 5, 6, 7)}
        with pytest.raises(Damaged):
            texts(parts, series)
        parts.add(series, 1, rows(4, 5, 6, 7))
        assert texts(parts, series) == [f"t{i}" for i in range(12)]
    with pytest.raises(SwiftprofError, match="measured with other settings"):
        parts.missing(Series("a", "e", series.indices))


def test_any_flipped_bit_is_noticed(parts: Parts) -> None:
    parts.add(Series("a", "d", (1, 2)), 0, rows(1, 2))
    path = parts.path("a", 0)
    whole = path.read_bytes()
    for place in range(len(whole)):
        raw = bytearray(whole)
        raw[place] ^= 1 << place % 8
        path.write_bytes(raw)
        with pytest.raises(Damaged):
            read_part(path, SCHEMA)


def forged(path: Path, table: pa.Table, lies: dict[bytes, bytes], **written: object) -> None:
    """A part with other data, a footer that lies about them, and the right checksum."""
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(out, table.schema, store_schema=False, **written) as writer:
        writer.write_table(table)
        blank = Stamp(settings="d", indices=(1,)).model_dump()
        writer.add_key_value_metadata({"swiftprof.part": json.dumps(blank)})
    raw = out.getvalue().to_pybytes()
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    for true, false in lies.items():
        assert raw.count(true, footer) == 1
        raw = raw[:footer] + raw[footer:].replace(true, false)
    path.write_bytes(raw.replace(b"0" * 64, hashlib.sha256(raw).hexdigest().encode()))


def test_a_forged_part_is_refused_before_its_pages_are_unpacked(parts: Parts) -> None:
    parts.add(Series("a", "d", (1,)), 0, rows(1))
    path = parts.path("a", 0)
    schema = pa.schema([("texts", pa.list_(pa.string()))])
    word = pa.DictionaryArray.from_arrays(pa.array([0] * 9000, pa.int32()), pa.array(["x" * 9000]))
    bomb = pa.table([pa.ListArray.from_arrays([0, 9000], word)], ["texts"])
    packed = b"\x35\x00\x06\x10"  # encodings, of which the last is RLE_DICTIONARY
    forged(path, bomb, {packed: b"\x35\x00\x06\x06"}, compression="zstd")
    assert path.stat().st_size < 3000  # for 81 MB
    with pytest.raises(Damaged, match="packed as no part is"):
        read_part(path, schema)

    nulls = pa.ListArray.from_arrays([0, 5000], pa.nulls(5000, pa.string()))
    table = pa.table([nulls], ["texts"])
    forged(path, table, {}, compression="zstd", use_dictionary=False)
    assert read_part(path, schema).rows["texts"].to_pylist() == [[None] * 5000]
    lie = {b"\x15\x0c\x16\x90\x4e": b"\x15\x0c\x16\x82\x00"}  # 1 value instead of 5000
    forged(path, table, lie, compression="zstd", use_dictionary=False)
    with pytest.raises(Damaged, match="not of the size that it promises"):
        read_part(path, schema)


def test_folders_of_several_processes_are_brought_together(parts: Parts, tmp_path: Path) -> None:
    series = Series("a", "d", tuple(range(8)))
    parts.add(series, 0, rows(0, 2))
    other = Parts(tmp_path / "other", SCHEMA)
    other.add(series, 0, rows(1, 2, 3))
    other.add(series, 1, rows(4, 5, 6), [Skipped(7, "broken")])
    parts.take(other, series)
    assert parts.missing(series) == {}
    assert texts(parts, series) == [f"t{i}" for i in range(7)]


def test_half_characters_in_a_text_do_not_lose_a_part(parts: Parts) -> None:
    series = Series("a", "d", (1,))
    parts.add(series, 0, {1: {"text": "cut \ud800 in half", "value": 1.0}}, [Skipped(2, "\udfff")])
    assert texts(parts, series) == ["cut ? in half"]


def test_no_memory_to_write_is_told_like_a_full_disk(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(part_module.pq, "ParquetWriter", exhausted)
    with pytest.raises(SwiftprofError, match="finished parts are kept"):
        parts.add(Series("a", "d", (1,)), 0, rows(1))


def test_only_temporary_files_that_nobody_can_be_writing_are_deleted(tmp_path: Path) -> None:
    old, live = tmp_path / ".run.json.a.tmp", tmp_path / ".run.json.b.tmp"
    for each in (old, live):
        each.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [live.name]


WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from swiftprof.runs.folder import Parts, Series
parts = Parts(Path(sys.argv[1]), pa.schema([("text", pa.string())]))
series = Series("a", "d", tuple(range(300)))
for turn in range(4):
    for number, chunk in enumerate(series.chunks()):
        parts.add(series, number, {i: {"text": "x" * 50} for i in chunk})
"""


def test_two_processes_on_one_folder_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [each.wait(300) for each in running] == [0, 0]
    parts = Parts(tmp_path, pa.schema([("text", pa.string())]))
    series = Series("a", "d", tuple(range(300)))
    assert parts.missing(series) == {}
    assert len(list((tmp_path / "parts").iterdir())) == 6
