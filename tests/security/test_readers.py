"""Files from strangers: whatever they hold, reading ends well or with one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftprof.cli.app import main
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import Curve
from swiftprof.planning.plan_file import Plan, shipped_plans
from swiftprof.profiling.rows import SCHEMA, Settings
from swiftprof.profiling.store import Profile
from swiftprof.runs import part
from swiftprof.runs.folder import Run, read_run
from swiftprof.runs.part import Damaged, Stamp, read_part, write_part
from tests.helpers.curves import plan_of_curve

PUBLISHED = shipped_plans()["llava-1.5-7b"]
FEW = settings(
    max_examples=80,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CURVE = {"num_layers": 8, "x": {"2": 0.5, "3": 0.6, "5": 0.8, "7": 0.7}}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["../../etc/passwd", "/etc/passwd", "[/bold]", "a" * 500, "\x00", "\u202e"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def damaged(draw: Any, document: Any) -> Any:
    """The document with one to three places replaced, removed or added."""
    out = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        node = out
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
            if action == "remove":
                del node[key]
            elif action == "add" and isinstance(node, dict):
                node[draw(st.text(max_size=8))] = draw(VALUES)
            else:
                node[key] = draw(VALUES)
            break
    return out


def one_line_or(read: Callable[[], Any], allowed: type[Exception] = SwiftprofError) -> Any:
    """The result; None where it was refused in one line."""
    try:
        return read()
    except (SwiftprofError, allowed) as refusal:
        complaint = str(refusal)
    assert 0 < len(complaint) < 2000
    return None


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


@FEW
@given(damaged(json.loads(PUBLISHED.read_text())))
def test_plans(tmp_path, document):
    plan = one_line_or(lambda: Plan.load(write(tmp_path / "plan.json", document)))
    if plan is not None:
        assert plan.tokens_per_layer(576)[0] <= 576


@FEW
@given(damaged(CURVE))
def test_curves(tmp_path, document):
    curve = one_line_or(lambda: Curve.from_json(write(tmp_path / "curve.json", document)))
    if curve is not None:
        one_line_or(lambda: plan_of_curve(curve, ratio=0.5))


@FEW
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_noise_is_no_json(tmp_path, raw):
    path = tmp_path / "noise.json"
    for content in (raw, b'{"schema": ' + raw, b"[" * 100_000, b'{"a":' * 50_000):
        path.write_bytes(content)
        assert one_line_or(lambda: Plan.load(path)) is None
        assert one_line_or(lambda: Curve.from_json(path)) is None


@pytest.fixture(scope="module")
def folder(small_profile, tmp_path_factory):
    """A copy of a real profile that is damaged again and again."""
    copy = tmp_path_factory.mktemp("security") / "profile"
    shutil.copytree(small_profile.path, copy)
    return copy


@FEW
@given(st.data())
def test_profiles(folder, small_profile, data):
    for name in ("profile.json", "run.json"):
        original = json.loads((small_profile.path / name).read_text())
        if name == "run.json":
            original["draw"] = {key: values[:3] for key, values in original["draw"].items()}
        write(folder / name, data.draw(damaged(original)))
    profile = one_line_or(lambda: Profile.load(folder))
    if profile is not None:
        assert all(each.resolve().parent == folder / "parts" for each in profile.parts())
        one_line_or(lambda: profile.curve)
        one_line_or(lambda: profile.samples)
    one_line_or(lambda: read_run(folder, Run[Settings]))


@FEW
@given(st.data())
def test_parts(small_profile, tmp_path, data):
    (source,) = small_profile.parts("scenes-qa")
    raw = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1) | st.integers(len(raw) - 600, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "part.parquet"
    path.write_bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)) | st.just(len(raw)))])
    found = one_line_or(lambda: read_part(path, SCHEMA))
    assert found is None or path.read_bytes() == source.read_bytes()


def test_parts_of_other_types_and_sizes_are_refused(small_profile, tmp_path, monkeypatch):
    (source,) = small_profile.parts("scenes-qa")
    sound, path = read_part(source, SCHEMA), tmp_path / "part.parquet"
    rows, stamp = sound.rows.to_pylist(), sound.stamp

    def refusal(schema: pa.Schema = SCHEMA) -> str:
        with pytest.raises(Damaged) as caught:
            read_part(path, schema)
        return str(caught.value)

    write_part(path, pa.schema([f for f in SCHEMA if f.name != "score"]), rows, stamp)
    assert "column score" in refusal()
    write_part(path, SCHEMA, rows[1:], stamp)
    assert "rows of 8 samples" in refusal()
    write_part(path, SCHEMA, rows, Stamp(settings="x", indices=range(8)))
    assert read_part(path, SCHEMA).stamp.settings == "x"
    pq.write_table(sound.rows.replace_schema_metadata(None), path)
    assert "does not say what it holds" in refusal()
    monkeypatch.setattr(part, "MAX_BYTES", 1000)
    with pytest.raises(SwiftprofError, match="larger than"):
        read_part(source, SCHEMA)


def test_a_small_part_cannot_unpack_to_gigabytes(tmp_path):
    """One long answer that a dictionary repeats in every row: a few kB that would fill memory."""
    schema = pa.schema([("answer", pa.string())])
    path = tmp_path / "bomb.parquet"
    stamp = Stamp(settings="x", indices=range(1000))
    rows = [{"answer": "a" * (1 << 16)}] * 1000

    real = pq.ParquetWriter
    with pytest.MonkeyPatch.context() as patch:  # a well-formed part, but for the packing
        patch.setattr(
            part.pq,
            "ParquetWriter",
            lambda out, schema, **options: real(out, schema, **{**options, "use_dictionary": True}),
        )
        write_part(path, schema, rows, stamp)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(Damaged, match="no part"):
        read_part(path, schema)


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a/b", "..", "", "a\x00b"])
def test_names_that_lead_elsewhere_are_refused(folder, small_profile, name):
    document = json.loads((small_profile.path / "profile.json").read_text())
    text = json.dumps(document).replace("scenes-qa", json.dumps(name)[1:-1])
    (folder / "profile.json").write_text(text)
    with pytest.raises(SwiftprofError, match="datasets"):
        Profile.load(folder)


@pytest.mark.parametrize(
    "command", [["run", "--plan"], ["report"], ["plan", "--curve"], ["eval", "--plan"]]
)
def test_pipes_are_refused_and_not_waited_for(tmp_path, capsys, command):
    os.mkfifo(tmp_path / "pipe.json")
    assert main([*command, str(tmp_path / "pipe.json")]) == 2
    assert "pipe.json" in capsys.readouterr().err


def test_pipes_in_a_folder_are_passed_over(small_profile, tmp_path, capsys):
    shutil.copytree(small_profile.path, tmp_path / "run")
    os.mkfifo(tmp_path / "run" / "notes.json")
    os.mkfifo(tmp_path / "run" / "parts" / "scenes-qa-00007.parquet")
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").is_file()
