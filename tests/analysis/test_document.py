"""Documents of analyses: written, read again, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftprof.analysis import REGISTRY, stability
from swiftprof.analysis.document import Document, Provenance, Table, data_class, samples_text
from swiftprof.errors import SwiftprofError


@pytest.fixture
def document(made_profile: Any) -> Document:
    data = stability.measure(made_profile, 2, replicates=20)
    return Document.of("stability", data, Provenance(model="m", seed=0, command="swiftprof x"))


def test_a_document_is_read_as_it_was_written(document: Document, tmp_path: Path) -> None:
    path = document.save(tmp_path)
    assert Document.load(path) == document
    parsed = Document.load(path).parsed()
    assert isinstance(parsed, stability.Data)
    assert parsed.model_dump(mode="json") == document.data


def test_the_markdown_has_findings_tables_and_the_command(
    document: Document, tmp_path: Path
) -> None:
    document.save(tmp_path)
    text = (tmp_path / "stability.md").read_text()
    assert document.findings[0] in text
    assert "| m | layers |" in text
    assert "    swiftprof x" in text


def test_cells_cannot_break_a_table() -> None:
    text = Table(columns=("a", "b"), rows=(("x|y", "line\nbreak"),)).markdown()
    assert text.splitlines()[-1] == "| x\\|y | line break |"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "swiftprof.plan/1"}, "schema"),
        ({"findings": 3}, "findings"),
        ({"provenance": {}}, "provenance.model"),
    ],
)
def test_damaged_documents_are_refused_with_the_field(
    document: Document, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**document.to_dict(), **change}))
    with pytest.raises(SwiftprofError, match=message) as caught:
        Document.load(path)
    assert "\n" not in str(caught.value)


def test_data_that_does_not_fit_its_analysis_is_refused(document: Document) -> None:
    broken = document.model_copy(update={"data": {**document.data, "plan": "x"}})
    with pytest.raises(SwiftprofError, match=r"analysis stability: data: plan"):
        broken.parsed()
    assert document.model_copy(update={"analysis": "later"}).parsed() is None


def test_every_analysis_has_data_a_figure_and_a_command() -> None:
    from importlib.util import find_spec

    from swiftprof.cli.analyses import RUNS

    assert set(RUNS) == set(REGISTRY)
    for name in REGISTRY:
        assert data_class(name).model_fields
        assert find_spec(f"swiftprof.report.figures.{name}") is not None


def test_samples_are_named_with_their_sets() -> None:
    assert samples_text({"a": 5}) == "5 samples of a"
    assert samples_text({"a": 5, "b": 5}) == "5 samples of each of a, b"
    assert samples_text({"a": 5, "b": 6}) == "5 of a, 6 of b"
