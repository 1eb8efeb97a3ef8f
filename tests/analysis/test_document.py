"""Documents of analyses: written, read again, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftprof.analysis import NAMES, analysis
from swiftprof.analysis.document import Document
from swiftprof.analysis.stability import Resampled
from swiftprof.errors import SwiftprofError
from swiftprof.tables import samples_text


@pytest.fixture
def document(made_profile: Any) -> Document:
    data = Resampled.of(made_profile, 2, replicates=20)
    return Document.of("stability", "Stability", data, {"model": "m"}, "swiftprof x")


def test_a_document_is_read_as_it_was_written(document: Document, tmp_path: Path) -> None:
    path = document.save(tmp_path)
    assert Document.load(path) == document
    parsed = Document.load(path).parsed()
    assert isinstance(parsed, Resampled)
    assert parsed.model_dump(mode="json") == document.data


def test_the_markdown_has_findings_tables_and_the_command(
    document: Document, tmp_path: Path
) -> None:
    document.save(tmp_path)
    text = (tmp_path / "stability.md").read_text()
    assert document.findings[0] in text
    assert "| m | layers |" in text
    assert "    swiftprof x" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "swiftprof.plan/1"}, "schema"),
        ({"findings": 3}, "findings"),
        ({"origin": {"model": 3}}, "origin.model"),
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
    broken = document.model_copy(update={"data": {**document.data, "budgets": "x"}})
    with pytest.raises(SwiftprofError, match=r"analysis stability: data: budgets"):
        broken.parsed()
    assert document.model_copy(update={"analysis": "later"}).parsed() is None


def test_an_analysis_is_its_file() -> None:
    for name in NAMES:
        kind = analysis(name)
        assert kind.name() == name
        assert kind.title
        assert kind.question().endswith(("?", ")"))
        assert all(line.startswith(f"swiftprof analyze {name}") for line in kind.examples)
        assert kind().samples > 0 if kind.runs else not hasattr(kind(), "samples")  # defaults


def test_data_show_themselves_in_a_notebook(document: Document) -> None:
    found = document.parsed()
    assert found is not None
    text = found._repr_html_()
    assert "data:image/png;base64," in text
    assert "<table>" in text
    assert found.plot().axes


def test_samples_are_named_with_their_sets() -> None:
    assert samples_text({"a": 5}) == "5 samples of a"
    assert samples_text({"a": 5, "b": 5}) == "5 samples of each of a, b"
    assert samples_text({"a": 5, "b": 6}) == "5 of a, 6 of b"
